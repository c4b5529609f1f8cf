// What is live at the desk: the rotating code. The sheet and the import have files of their own.
"use strict";
{
  const shown = document.querySelector("[data-code]");
  const lost = shown && shown.querySelector("[data-lost]");
  const RETRY_MS = 3000;
  const renew = async () => {
    try {
      const answer = await fetch(shown.dataset.code, { headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(answer.status);
      const next = await answer.json();
      shown.querySelector("strong").textContent = next.code.slice(0, 3) + " " + next.code.slice(3);
      const picture = shown.querySelector("img");
      picture.src = picture.src.split("?")[0] + "?" + next.code;
      lost.hidden = true;
      setTimeout(renew, next.remaining_s * 1000);
    } catch (problem) {
      lost.hidden = false;
      setTimeout(renew, RETRY_MS);
    }
  };
  if (shown) setTimeout(renew, Number(shown.dataset.remaining) * 1000);
}
