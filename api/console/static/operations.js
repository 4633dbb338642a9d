// Keeps the page of operations as it is now, while somebody can see it.
"use strict";

(() => {
  const EVERY_MS = 5000;
  const live = document.getElementById("live");
  const refusal = document.getElementById("refusal");
  const behind = document.getElementById("behind");
  let held = false;

  function refresh() {
    if (!document.hidden && !held) htmx.trigger(live, "refresh");
  }

  /** Says since when the page could not be brought up to date, or that it is. */
  function fallBehind(isBehind) {
    live.classList.toggle("stale", isBehind);
    if (isBehind) behind.querySelector("time").dateTime = document.getElementById("as-of").dateTime;
    behind.hidden = !isBehind;
    localize();
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
  live.addEventListener("htmx:before:swap", (event) => {
    const failed = event.detail.ctx.response.status >= 400;
    fallBehind(failed);
    // A refusal is said once, however often the page asks.
    if (!failed) refusal.replaceChildren();
    else if (refusal.childElementCount) event.preventDefault();
  });
  live.addEventListener("htmx:error", () => fallBehind(true));
})();
