// Keys of the review page: each presses the button of its name while this script is on the page.
(() => {
  const installed = window.wakefulKeys;
  window.wakefulKeys = document.currentScript;
  if (installed) return;
  const NAMES = {j: "next", k: "previous", r: "real", f: "false", s: "skip", u: "undo", "?": "help"};
  for (let cause = 1; cause <= 9; cause++) NAMES[cause] = `cause-${cause}`;
  const taken = new Set();
  const button = name => document.querySelector(`.st-key-press-${name} button`);
  const press = name => {
    if (!window.wakefulKeys.isConnected) return;
    // Streamlit draws buttons after the text, "help" the last: a key pressed before waits for them.
    if (button("help")) button(name)?.click();
    else requestAnimationFrame(() => press(name));
  };
  document.addEventListener("keydown", event => {
    if (!window.wakefulKeys.isConnected || !NAMES[event.key]) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, [contenteditable=true]")) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    taken.add(event.key);
    if (!event.repeat) press(NAMES[event.key]);
  }, true);
  // Streamlit's own "r" runs the page again, at its release too, and so cuts short what was pressed.
  document.addEventListener("keyup", event => {
    if (taken.delete(event.key)) event.stopImmediatePropagation();
  }, true);
})();
