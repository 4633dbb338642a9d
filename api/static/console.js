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

// Answers, as they come

const AGAIN_MS = 3000;
const followed = new Map();

function follow(box) {
  const source = new EventSource(`${box.dataset.job}/events`);
  followed.set(box, source);
  const words = () => box.querySelector("[data-words]");
  source.addEventListener("status", (event) => {
    if (JSON.parse(event.data).restart) words().textContent = "";
    renew(box, ".state");
  });
  source.addEventListener("token", (event) => {
    words().append(JSON.parse(event.data).text);
    box.classList.add("speaking");
  });
  source.addEventListener("done", () => {
    source.close();
    renew(box, null);
  });
  source.addEventListener("error", () => {
    // A browser takes up again what broke off, but not what was refused.
    if (source.readyState === EventSource.CLOSED) again(box);
  });
}

function again(box) {
  setTimeout(async () => {
    const renewed = await renew(box, null).catch(() => false);
    if (!renewed && box.isConnected) again(box);
  }, AGAIN_MS);
}

/** Shows a box, or a part of it, as the server has it now; false where it does not tell. */
async function renew(box, part) {
  const response = await fetch(box.dataset.answer, { headers: { "HX-Request": "true" } });
  if (response.status === 401) location.reload(); // which leads to the door
  if (!response.ok || !box.isConnected) return false;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const fresh = page.querySelector(".answer");
  changed();
  if (part) {
    const [from, to] = [fresh.querySelector(part), box.querySelector(part)];
    if (from && to) to.replaceWith(from);
    return true;
  }
  const focused = box.contains(document.activeElement);
  tell(fresh.dataset.news);
  box.replaceWith(fresh);
  htmx.process(fresh);
  if (focused) (fresh.querySelector("input[name=question]") ?? fresh).focus();
  return true;
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
  if (!pictures.length) return;
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
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  form.addEventListener("submit", () => ($("refusal").textContent = ""));
  show();
}

/** After a question was taken: the form is free again, and the eye is led to the answer. */
function asked(turn) {
  const form = $("composer");
  if (form && turn.parentElement.children.length === 1) {
    form.reset();
    show();
  }
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  turn.scrollIntoView({ block: "nearest", behavior: calm ? "auto" : "smooth" });
  turn.focus({ preventScroll: true });
  tell(turn.querySelector(".answer").dataset.news);
  // Of an answer that was there at once, no stream will tell.
  if (!turn.querySelector("[data-live]")) changed();
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

function localize() {
  const page = document.documentElement.lang.slice(0, 2);
  const language = navigator.languages.find((tag) => tag.startsWith(page)) ?? page;
  const today = new Date().toDateString();
  for (const time of document.querySelectorAll("time:not([data-local])")) {
    const at = new Date(time.dateTime);
    const near = at.toDateString() === today && time.dataset.dated === undefined;
    const clock = time.dataset.short === undefined ? "medium" : "short";
    time.dataset.local = "";
    time.textContent = near
      ? at.toLocaleTimeString(language, { timeStyle: clock })
      : at.toLocaleString(language, { dateStyle: "medium", timeStyle: "short" });
  }
}

function look() {
  followAll();
  localize();
}

document.addEventListener("DOMContentLoaded", () => {
  if ($("composer")) composer($("composer"));
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) copy(button);
  });
  new MutationObserver((changes) => {
    for (const { addedNodes } of changes) {
      for (const node of addedNodes) if (node.classList?.contains("turn")) asked(node);
    }
    look();
  }).observe($("main"), { childList: true, subtree: true });
  look();
});

addEventListener("pagehide", () => {
  for (const source of followed.values()) source.close();
});
