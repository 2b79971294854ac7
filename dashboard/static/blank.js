// A page that no proxy lets through to its server would stay blank for ever: say what is wrong.
(() => {
  const WAIT_MS = 8000;
  const connected = () =>
    document.querySelector('[data-test-connection-state="CONNECTED"]') !== null;
  const answers = async (path) => {
    try {
      return (await fetch(path, { cache: "no-store" })).ok;
    } catch {
      return false;
    }
  };
  const reached = async () => {
    const folder = location.pathname.replace(/[^/]*$/, "");
    return (await answers(folder + "_stcore/health")) || (await answers("/_stcore/health"));
  };
  const say = async () => {
    const why = (await reached())
      ? "The page is here, but its connection /_stcore/stream is closed at once: the proxy must " +
        "forward WebSockets (Upgrade, Connection) and the browser's own Host, or X-Forwarded-Host."
      : "Nothing below this address reaches the dashboard: the proxy must pass on every path " +
        "below it, and take a sub path away.";
    const box = document.createElement("div");
    box.id = "wk-blank";
    box.setAttribute("role", "alert");
    box.style =
      "position:fixed;z-index:9999999;inset:20vh auto auto 50%;transform:translateX(-50%);" +
      "max-width:34rem;padding:1rem 1.25rem;font:16px/1.5 system-ui;color:#111;background:#fff;" +
      "border:2px solid #b45309;border-radius:.5rem";
    const title = document.createElement("strong");
    title.textContent = "This page cannot reach its server";
    const text = document.createElement("p");
    text.textContent = why + " See docs/troubleshooting.md, “Behind a proxy”.";
    box.append(title, text);
    document.body.append(box);
    const gone = setInterval(() => {
      if (connected()) {
        box.remove();
        clearInterval(gone);
      }
    }, 500);
  };
  setTimeout(() => connected() || say(), WAIT_MS);
})();
