// Sending a file: dropped or chosen, with its progress; and an import that is under way tells how far it is.
"use strict";
{
  const form = document.querySelector("form[data-import]");
  if (form) {
    const drop = form.querySelector("[data-drop]");
    const file = form.elements.file;
    const over = (is) => (event) => { event.preventDefault(); drop.classList.toggle("over", is); };
    drop.addEventListener("dragover", over(true));
    drop.addEventListener("dragleave", over(false));
    drop.addEventListener("drop", (event) => { over(false)(event); if (event.dataTransfer.files.length) file.files = event.dataTransfer.files; });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      event.stopPropagation();
      const shown = form.querySelector("[data-sending]");
      const bar = shown.querySelector("progress");
      const request = new XMLHttpRequest();
      shown.hidden = false;
      request.upload.addEventListener("progress", (at) => { if (at.lengthComputable) bar.value = (100 * at.loaded) / at.total; });
      request.addEventListener("load", () => {
        if (request.status < 400) { window.location.assign(request.responseURL); return; }
        document.open();
        document.write(request.responseText);
        document.close();
      });
      request.addEventListener("error", () => { shown.hidden = true; form.submit(); });
      request.open("POST", form.action);
      request.send(new FormData(form));
    });
  }
  const moving = document.querySelector("[data-state]");
  const EVERY_MS = 1000;
  const look = async () => {
    try {
      const answer = await fetch(moving.dataset.state, { headers: { Accept: "application/json" } });
      const now = await answer.json();
      moving.querySelector("progress").value = now.done;
      if (now.state !== "booking" && now.state !== "undoing") { window.location.reload(); return; }
    } catch (problem) { /* the next look will say */ }
    setTimeout(look, EVERY_MS);
  };
  if (moving) setTimeout(look, EVERY_MS);
}
