"""Nothing in the source is larger than one mind holds, or says why it is."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.test_names import sources

MOST_METHODS = 15
MOST_ARGUMENTS = 8
# `Any` stands where foreign data enters: YAML, JSON, other people's libraries. May only shrink.
MOST_ANYS = 101

Function = ast.FunctionDef | ast.AsyncFunctionDef


def nodes(kind: type[ast.AST]) -> Iterator[tuple[Path, ast.AST]]:
    for path, tree in sources().items():
        yield from ((path, node) for node in ast.walk(tree) if isinstance(node, kind))


def is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def test_a_class_with_many_methods_says_why() -> None:
    large = []
    for path, node in nodes(ast.ClassDef):
        assert isinstance(node, ast.ClassDef)
        methods = [m for m in node.body if isinstance(m, Function) and not is_special(m.name)]
        reason = "methods" in (ast.get_docstring(node) or "")
        if len(methods) > MOST_METHODS and not reason:
            large.append(f"{path}:{node.lineno}: {node.name} has {len(methods)} methods")
    assert not large


def arguments(function: Function) -> list[ast.arg]:
    given = function.args
    return [
        argument
        for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)
        if argument.arg not in {"self", "cls"}
    ]


def is_command(function: Function) -> bool:
    """Its arguments are the options of a command line: a user's, as many as there are."""
    return any(
        argument.annotation is not None
        and (
            "typer." in ast.unparse(argument.annotation)
            or "Option" in ast.unparse(argument.annotation)
        )
        for argument in arguments(function)
    )


def test_no_function_takes_more_arguments_than_can_be_told_apart() -> None:
    large = {
        f"{path}: {node.name}"
        for path, node in nodes(Function)
        if isinstance(node, Function)
        and not is_command(node)
        and len(arguments(node)) > MOST_ARGUMENTS
    }
    assert not large


def test_any_stands_only_where_foreign_data_enters() -> None:
    anys = [
        f"{path}:{node.lineno}"
        for path, node in nodes(ast.Name)
        if isinstance(node, ast.Name) and node.id == "Any"
    ]
    assert len(anys) <= MOST_ANYS
