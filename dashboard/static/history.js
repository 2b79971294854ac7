// Back and Forward load the page again: streamlit would ask its server for the parameters that it
// last wrote into the address, not for those that the address has now.
(() => {
  if (window.wakefulHistory) return;
  window.wakefulHistory = true;
  window.addEventListener("popstate", event => {
    if (location.hash) return;
    event.stopImmediatePropagation();
    location.reload();
  }, true);
})();
