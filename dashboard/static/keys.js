// Keys of the review page: each presses the button of its name, where that button is drawn.
(() => {
  const NAMES = {j: "next", k: "previous", r: "real", f: "false", s: "skip", u: "undo", "?": "help"};
  for (let cause = 1; cause <= 9; cause++) NAMES[cause] = `cause-${cause}`;
  if (window.wakefulKeys) return;
  window.wakefulKeys = true;
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.target.closest("input, textarea, select, [contenteditable=true]")) return;
    const name = NAMES[event.key];
    const button = name && document.querySelector(`.st-key-press-${name} button`);
    if (!button || button.disabled) return;
    event.preventDefault();
    event.stopImmediatePropagation();  // streamlit's own "r" would run the page again
    button.click();
  }, true);
})();
