// Keeps the page of operations as it is now, while somebody can see it.
"use strict";

(() => {
  const EVERY_MS = 5000;
  const live = document.getElementById("live");
  let held = false;

  // What somebody has opened stays open.
  htmx.config.morphIgnore.push("open");

  function refresh() {
    if (!document.hidden && !held) htmx.trigger(live, "refresh");
  }

  setInterval(refresh, EVERY_MS);
  document.addEventListener("visibilitychange", refresh);
  live.addEventListener("click", (event) => {
    const button = event.target.closest("#hold");
    if (!button) return;
    held = !held;
    button.setAttribute("aria-pressed", held);
    refresh();
  });
  live.addEventListener("htmx:after:swap", () => {
    document.getElementById("refusal").replaceChildren();
  });
})();
