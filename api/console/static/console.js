// What makes the pages quicker to use. Everything here works without it, only less conveniently.
"use strict";

document.documentElement.classList.add("scripted");

const $ = (id) => document.getElementById(id);

/** Says something to whoever cannot see the page. */
function tell(text) {
  $("news").textContent = text;
}

/** Has those parts of the page that show a job, or name it, look at it again. */
function changed() {
  document.body.dispatchEvent(new CustomEvent("job-changed"));
}

// What did not work

/** Says why, where the page has a place for it. */
function refuse(text) {
  const notice = document.createElement("p");
  notice.className = "notice bad";
  notice.role = "alert";
  notice.textContent = text;
  $("refusal").replaceChildren(notice);
}

/** Whether somebody signed in again, or has to: what is typed stays where it is. */
function session(isOver, part) {
  const shown = $("refusal").querySelector("[data-code=session_over]");
  if (isOver && !shown) $("refusal").replaceChildren(...part.body.children);
  if (!isOver) shown?.remove();
}

// Answers, as they come

const AGAIN_MS = 3000;
const followed = new Map();

function follow(box) {
  const source = new EventSource(`${box.dataset.job}/events`);
  followed.set(box, source);
  const words = () => box.querySelector("[data-words]");
  let silence;
  source.addEventListener("open", () => {
    clearTimeout(silence);
    lost(box, false);
  });
  source.addEventListener("status", (event) => {
    if (JSON.parse(event.data).restart) words().textContent = "";
    renew(box, ".state").catch(() => {}); // what follows, or the next status, says it again
  });
  source.addEventListener("token", (event) => {
    words().append(JSON.parse(event.data).text);
    box.classList.add("speaking");
  });
  source.addEventListener("done", () => {
    source.close();
    settle(box, 0);
  });
  source.addEventListener("error", () => {
    // A browser takes up again what broke off, but not what was refused.
    if (source.readyState === EventSource.CLOSED) settle(box, AGAIN_MS);
    clearTimeout(silence);
    silence = setTimeout(() => lost(box, source.readyState !== EventSource.OPEN), AGAIN_MS);
  });
}

/** Shows a box as the server has it, however long that takes. */
function settle(box, after) {
  setTimeout(async () => {
    const renewed = await renew(box, null).catch(() => lost(box, true));
    if (!renewed && box.isConnected) settle(box, AGAIN_MS);
  }, after);
}

/** Says that the server of a box cannot be reached, or no longer so. */
function lost(box, isLost) {
  const notice = box.querySelector("[data-lost]");
  if (notice) notice.hidden = !isLost;
}

/** Shows a box, or a part of it, as the server has it now; false where it does not tell. */
async function renew(box, part) {
  const response = await fetch(box.dataset.answer, { headers: { "HX-Request": "true" } });
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  session(response.status === 401, page);
  lost(box, response.status >= 500);
  if (!response.ok || !box.isConnected) return false;
  const fresh = page.querySelector(".answer");
  if (part) {
    const [from, to] = [fresh.querySelector(part), box.querySelector(part)];
    if (from && to) to.replaceWith(from);
    changed();
    return true;
  }
  const focused = box.contains(document.activeElement);
  const seen = isSeen(box);
  box.replaceWith(fresh);
  htmx.process(fresh);
  if (focused) (fresh.querySelector("input[name=question]") ?? fresh).focus();
  if (seen) fresh.scrollIntoView({ block: "nearest" });
  return true;
}

function isSeen(box) {
  const { top, bottom } = box.getBoundingClientRect();
  return top >= 0 && bottom <= innerHeight;
}

/** After an answer took another's place, as the stream or a button had it. */
function replaced(box) {
  tell(box.dataset.news);
  changed();
}

function followAll() {
  for (const [box, source] of followed) {
    if (!box.isConnected) {
      source.close();
      followed.delete(box);
    }
  }
  for (const box of document.querySelectorAll("[data-live]")) {
    if (!followed.has(box)) follow(box);
  }
}

// A picture: dropped, pasted or chosen

function choose(files) {
  const pictures = [...files].filter((file) => file.type.startsWith("image/"));
  if (!pictures.length) return refuse($("drop").dataset.refused);
  $("refusal").replaceChildren();
  const chosen = new DataTransfer();
  chosen.items.add(pictures[0]);
  $("image").files = chosen.files;
  show();
}

function show() {
  const [file] = $("image").files;
  URL.revokeObjectURL($("preview").src);
  $("drop").classList.toggle("full", Boolean(file));
  $("chosen").hidden = !file;
  if (file) {
    $("preview").src = URL.createObjectURL(file);
    $("chosen-name").textContent = file.name;
    $("question").focus();
  }
  fill();
}

const quoted = {
  shell: (text) => `'${text.replaceAll("'", "'\\''")}'`,
  python: (text) => JSON.stringify(text),
};

/** Has the samples of code ask what the form asks. */
function fill() {
  const [file] = $("image").files;
  const values = { file: file?.name, question: $("question").value };
  for (const place of document.querySelectorAll("[data-fill]")) {
    place.dataset.example ??= place.textContent;
    const value = values[place.dataset.fill];
    place.textContent = value ? quoted[place.dataset.as](value) : place.dataset.example;
  }
}

function composer(form) {
  const drop = $("drop");
  $("image").addEventListener("change", show);
  $("unchoose").addEventListener("click", () => $("image").click());
  $("question").addEventListener("input", fill);
  for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      drop.classList.toggle("over", name === "dragenter" || name === "dragover");
      if (name === "drop") choose(event.dataTransfer.files);
    });
  }
  document.addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) {
      event.preventDefault();
      choose(event.clipboardData.files);
    }
  });
  form.addEventListener("submit", () => ($("refusal").textContent = ""));
  show();
}

/** Enter asks, in the form and below an answer; with Shift it begins a line. */
function send(event) {
  const field = event.target.closest("[name=question]");
  const isWriting = event.isComposing || event.keyCode === 229; // as Chinese is, by its sounds
  if (!field || event.key !== "Enter" || event.shiftKey || isWriting) return;
  event.preventDefault();
  const button = field.form.querySelector("button:not([type])");
  if (!button.disabled) field.form.requestSubmit(button);
}

/** After a question was taken: the form is free again, and the eye is led to the answer. */
async function asked(turn) {
  const form = $("composer");
  if (form && turn.parentElement.children.length === 1) {
    form.reset();
    show();
  }
  const behavior = matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth";
  turn.focus({ preventScroll: true });
  tell(turn.querySelector(".answer").dataset.news);
  // Of an answer that was there at once, no stream will tell.
  if (!turn.querySelector("[data-live]")) changed();
  // A picture has no height before it is there.
  await Promise.allSettled(Array.from(turn.querySelectorAll("img"), (image) => image.decode()));
  turn.scrollIntoView({ block: "nearest", behavior });
  turn.querySelector(".answer").scrollIntoView({ block: "nearest", behavior });
}

// Menus

/** Closes those menus that are not around what was pressed. */
function closeMenus(pressed) {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (menu.contains(pressed)) continue;
    const hadFocus = menu.contains(document.activeElement);
    menu.open = false;
    if (hadFocus && !pressed) menu.querySelector("summary").focus();
  }
}

// Copying

async function copy(button) {
  const text = $(button.dataset.copy).textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const range = document.createRange();
    range.selectNodeContents($(button.dataset.copy));
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    document.execCommand("copy"); // where the page is not served over TLS
  }
  const label = button.querySelector("span");
  button.dataset.label ??= label.textContent;
  label.textContent = button.dataset.done;
  tell(button.dataset.done);
  setTimeout(() => (label.textContent = button.dataset.label), 2000);
}

// Times, as they are here

const CLOCKS = {
  minute: (at, language) => at.toLocaleTimeString(language, { timeStyle: "short" }),
  short: (at, language) => (isToday(at) ? CLOCKS.minute(at, language) : CLOCKS.date(at, language)),
  date: (at, language) => at.toLocaleString(language, { dateStyle: "medium", timeStyle: "short" }),
  full: (at, language) =>
    isToday(at)
      ? at.toLocaleTimeString(language, { timeStyle: "medium" })
      : CLOCKS.date(at, language),
};

function isToday(at) {
  return at.toDateString() === new Date().toDateString();
}

/** Tells times as they are here, those too that the server has just told anew. */
function localize() {
  const page = document.documentElement.lang.slice(0, 2);
  const language = navigator.languages.find((tag) => tag.startsWith(page)) ?? page;
  for (const time of document.querySelectorAll("time")) {
    const text = CLOCKS[time.dataset.clock ?? "full"](new Date(time.dateTime), language);
    if (time.textContent !== text) time.textContent = text;
  }
}

function look() {
  followAll();
  localize();
}

document.addEventListener("DOMContentLoaded", () => {
  htmx.config.morphIgnore.push("open"); // what somebody has opened stays open
  if ($("composer")) composer($("composer"));
  document.addEventListener("keydown", send);
  document.addEventListener("keydown", ({ key }) => key === "Escape" && closeMenus(null));
  document.addEventListener("click", (event) => {
    closeMenus(event.target);
    const button = event.target.closest("[data-copy]");
    if (button) copy(button);
  });
  document.addEventListener("htmx:error", ({ target, detail }) => {
    if (detail.ctx && target.matches("form")) refuse(document.body.dataset.lost);
  });
  new MutationObserver((changes) => {
    for (const { addedNodes } of changes) {
      for (const node of addedNodes) {
        if (node.classList?.contains("turn")) asked(node);
        if (node.classList?.contains("answer")) replaced(node);
        if (node.role === "alert") node.scrollIntoView({ block: "nearest" });
      }
    }
    look();
  }).observe($("main"), { childList: true, characterData: true, subtree: true });
  look();
});

addEventListener("pagehide", () => {
  for (const source of followed.values()) source.close();
});
