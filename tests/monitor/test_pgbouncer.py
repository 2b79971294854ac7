"""PostgreSQL behind PgBouncer in transaction mode: another connection for each transaction."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from dashboard.queries.database import Database
from monitor.store.database import PREPARED_AFTER, open_engine, upgrade
from tests.support.servers import Postgres, free_port, listening, until

PGBOUNCER = shutil.which("pgbouncer")
pytestmark = pytest.mark.skipif(not PGBOUNCER, reason="needs pgbouncer")

SETTINGS = """[databases]
pooled = host={socket} dbname=pooled user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 2
"""


@pytest.fixture(scope="module")
def pooled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a database behind PgBouncer."""
    assert PGBOUNCER
    server, port = Postgres(), free_port()
    server.database("pooled")
    folder = tmp_path_factory.mktemp("pgbouncer")
    folder.chmod(0o755)
    file = Path(folder / "pgbouncer.ini")
    file.write_text(SETTINGS.format(socket=server.folder, port=port))
    # It will not run as root, and the server's socket is root's own.
    server.folder.chmod(0o755)
    process = subprocess.Popen(
        [PGBOUNCER, "-q", "-u", "nobody", str(file)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(lambda: listening(port), what="pgbouncer listens")
    yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/pooled"
    process.kill()
    process.wait()
    server.close()


def test_the_log_is_made_and_written_through_a_pool(pooled: str) -> None:
    upgrade(pooled)
    engine = open_engine(pooled)
    for _ in range(20):  # the driver prepares a statement on its fifth use
        with engine.begin() as one, engine.begin() as other:
            one.execute(text("SELECT count(*) FROM events WHERE level > :n"), {"n": 1})
            other.execute(text("SELECT count(*) FROM events WHERE level > :n"), {"n": 1})
    engine.dispose()


@pytest.mark.postgres
def test_statements_are_prepared_where_no_pool_stands_between(
    pooled: str, postgres_url: str
) -> None:
    for url, threshold in ((pooled, None), (postgres_url, PREPARED_AFTER)):
        engine = open_engine(url)
        with engine.connect() as connection:
            assert connection.connection.driver_connection is not None
            assert connection.connection.driver_connection.prepare_threshold == threshold
        engine.dispose()


def test_the_pages_read_through_a_pool_and_wait_no_longer_than_allowed(pooled: str) -> None:
    upgrade(pooled)
    store = Database(pooled)
    for _ in range(20):
        assert store.rows(text("SELECT count(*) AS n FROM events WHERE level > :n"), {"n": 1})
    [limit] = store.rows(text("SELECT current_setting('statement_timeout') AS limit"))
    assert limit["limit"] != "0"
    store.close()
