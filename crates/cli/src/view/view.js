// The page of traces: keys, copying, and traces that arrive while one looks. Nothing of a trace is ever made into HTML here.
"use strict";

document.addEventListener("keydown", (event) => {
  if (event.target instanceof HTMLInputElement) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const items = [...document.querySelectorAll(".rows a, .message")];
  const at = items.indexOf(document.activeElement);
  const to = { j: at + 1, k: at < 0 ? 0 : at - 1 }[event.key];
  if (event.key === "/") document.querySelector("[name=text]")?.focus();
  else if (to !== undefined && items[to]) items[to].focus();
  else return;
  event.preventDefault();
});

for (const message of document.querySelectorAll(".message")) message.tabIndex = -1;

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    const text = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = text), 1500);
  });
}

// The first page of the list is asked for again every two seconds, or less often where that takes long, and its new rows are
// put in front.
const rows = document.getElementById("rows");

async function arrive() {
  const answer = await fetch(location.href).catch(() => null);
  if (!answer?.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const known = new Set([...rows.querySelectorAll("a")].map((link) => link.getAttribute("href")));
  const listed = [...page.querySelectorAll("#rows li")];
  const arrived = listed.filter((row) => !known.has(row.firstElementChild.getAttribute("href")));
  // More than a page of them: what lies between is on the next pages.
  if (known.size > 0 && arrived.length === listed.length && arrived.length > 0) location.reload();
  else rows.prepend(...arrived);
}

async function watch() {
  const start = performance.now();
  if (!document.hidden) await arrive();
  setTimeout(watch, Math.max(2000, 5 * (performance.now() - start)));
}

if (rows && !new URLSearchParams(location.search).get("from")) setTimeout(watch, 2000);
