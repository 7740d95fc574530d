// Keyboard shortcuts, copying, and live updates of the list. No part of a trace is ever turned into HTML here.
"use strict";

const help = document.getElementById("help");
const box = document.querySelector("[name=q]");
const outline = document.querySelector(".outline details");
const fold = document.querySelectorAll("[data-fold]");
const nextError = document.querySelector("[data-next-error]");

for (const button of document.querySelectorAll("[data-help]")) button.addEventListener("click", () => help.showModal());

document.addEventListener("keydown", (event) => {
  if (event.target instanceof HTMLInputElement && event.target.type === "search") {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  const scope = document.activeElement?.closest(".outline") ? ".outline a" : ".rows a, .message";
  const items = [...document.querySelectorAll(scope)].filter((item) => item.checkVisibility());
  const at = items.indexOf(document.activeElement?.closest(scope));
  const to = { j: at + 1, k: at < 0 ? 0 : at - 1 }[event.key];
  const link = { n: "a[rel=next]", p: "a[rel=prev]", m: "a[data-key=m]", o: "nav a[href='/']" }[event.key];
  if (event.key === "/") box.focus();
  else if (event.key === "?") help.showModal();
  else if (event.key === "t" && outline) {
    outline.open = true;
    (outline.querySelector("[data-seen]") ?? outline.querySelector("a")).focus();
  }
  else if (link) document.querySelector(link)?.click();
  else if (event.key === "c" && items[at]?.matches(".rows a")) items[at].parentElement.querySelector("[form=compare]")?.click();
  else if (event.key === "C" && chosen.length === 2) document.getElementById("compare").requestSubmit();
  else if (event.key === "e" && nextError) goToNextError();
  else if (event.key === "f" && fold.length > 0) foldAll(!isUnfolded);
  else if (to !== undefined && items[to]) items[to].focus();
  else return;
  event.preventDefault();
});

for (const message of document.querySelectorAll(".message")) message.tabIndex = -1;

// The outline marks the turns in view. It starts folded on screens where it is above the conversation, not beside it.
const entries = new Map([...document.querySelectorAll(".outline a")].map((link) => [link.hash.slice(1), link]));
const seen = new IntersectionObserver((changes) => {
  for (const { target, isIntersecting } of changes) entries.get(target.id)?.toggleAttribute("data-seen", isIntersecting);
  const list = outline.parentElement;
  const first = list.querySelector("[data-seen]");
  if (first && !list.contains(document.activeElement)) list.scrollTop = first.offsetTop - list.clientHeight / 2;
});
if (outline) {
  outline.open = matchMedia("(min-width: 1000px)").matches;
  for (const id of entries.keys()) seen.observe(document.getElementById(id));
}

// A comparison has two traces: a third choice replaces the first one.
const chosen = [...document.querySelectorAll("[form=compare]:checked")];

document.addEventListener("change", ({ target }) => {
  if (!target.matches("[form=compare]")) return;
  if (target.checked) chosen.push(target);
  else chosen.splice(chosen.indexOf(target), 1);
  if (chosen.length > 2) chosen.shift().checked = false;
});

// Folding and errors. Without this script, the links load a page with everything unfolded, or go to the first error.
let isUnfolded = new URLSearchParams(location.search).get("unfolded") === "true";

function foldAll(unfold) {
  isUnfolded = unfold;
  for (const details of document.querySelectorAll(".turns details")) details.open = unfold;
}

for (const link of fold) {
  link.addEventListener("click", (event) => {
    foldAll(link.dataset.fold === "unfold");
    event.preventDefault();
  });
}

// Goes to the first error after the focused element, or to the page that contains the next error.
function goToNextError() {
  const errors = [...document.querySelectorAll(".alert, .result[data-error]")];
  const isLater = (error) => document.activeElement.compareDocumentPosition(error) & Node.DOCUMENT_POSITION_FOLLOWING;
  const next = document.activeElement === document.body ? errors[0] : errors.find(isLater);
  if (next) {
    for (let within = next; (within = within.parentElement?.closest("details")); ) within.open = true;
    next.tabIndex = -1;
    next.focus();
  } else if (nextError.dataset.nextError) location.href = nextError.dataset.nextError;
}

nextError?.addEventListener("click", (event) => {
  goToNextError();
  event.preventDefault();
});

// Copying. Only this script shows the buttons, because they would do nothing without it.
async function copied(button, text) {
  await navigator.clipboard.writeText(await text());
  const label = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = label), 1500);
}

async function fetched(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  return answer.text();
}

for (const button of document.querySelectorAll("[data-copy], [data-copy-url]")) {
  const { copy, copyUrl } = button.dataset;
  const text = copyUrl ? () => fetched(copyUrl) : () => document.getElementById(copy).textContent;
  button.addEventListener("click", () => copied(button, text));
}
for (const button of document.querySelectorAll("button[hidden]")) button.hidden = false;

// Each turn, call and code block has a link. The button next to it copies the turn or call as Markdown, or the code.
const markdown = document.querySelector("main").dataset.markdown;

for (const anchor of document.querySelectorAll(".anchor")) {
  const id = anchor.hash.slice(1);
  const code = anchor.parentElement.querySelector(":scope > .code");
  const button = document.createElement("button");
  Object.assign(button, { type: "button", className: "copy", textContent: "Copy" });
  button.title = anchor.getAttribute("aria-label").replace("Link to", "Copy");
  button.addEventListener("click", () => copied(button, () => (code ? code.textContent : fetched(`${markdown}&of=${id}`))));
  anchor.before(button);
}

// A link to an alternative answer selects its tab.
function selectTab() {
  const tab = document.getElementById(location.hash.slice(1))?.closest(".panel")?.previousElementSibling?.control;
  if (tab) tab.checked = true;
}
addEventListener("hashchange", selectTab);
selectTab();

// Requests the list's first page again every two seconds, or less often if a request takes long. Inserts new rows at
// the top. Does not reload the page, because the user may be typing a search.
const rows = document.getElementById("rows");

async function arrive() {
  const answer = await fetch(location.href).catch(() => null);
  if (!answer?.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const known = new Set([...rows.children].map((row) => row.dataset.key));
  const listed = [...page.querySelectorAll("#rows li")];
  const arrived = listed.filter((row) => !known.has(row.dataset.key));
  // More than one page of new rows: replace all rows, because the other new traces are on later pages.
  if (known.size > 0 && arrived.length === listed.length && arrived.length > 0) rows.replaceChildren(...listed);
  else rows.prepend(...arrived);
  if (arrived.length > 0) document.querySelector("main .more").replaceWith(page.querySelector("main .more"));
}

async function watch() {
  const start = performance.now();
  if (!document.hidden) await arrive();
  setTimeout(watch, Math.max(2000, 5 * (performance.now() - start)));
}

if (rows?.dataset.live !== undefined && !new URLSearchParams(location.search).get("from")) setTimeout(watch, 2000);
