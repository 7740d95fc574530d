// Stops a search without leaving its page. This script runs while the page is still loading.
"use strict";

document.addEventListener("submit", (event) => {
  if (event.target.id !== "stop") return;
  event.preventDefault();
  const search = event.submitter.value;
  fetch("/stop", { method: "POST", body: new URLSearchParams({ search }) });
  event.submitter.disabled = true;
});
