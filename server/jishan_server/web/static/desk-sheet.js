// Typing a sheet: candidates as one types, Enter saves the first, what nobody is known by is put aside in this browser.
"use strict";
{
  const form = document.getElementById("typing");
  const field = document.getElementById("who");
  const list = document.getElementById("candidates");
  const said = document.getElementById("said");
  const rows = document.getElementById("rows");
  const count = document.getElementById("count");
  const aside = document.getElementById("parked");
  const words = JSON.parse(form.dataset.said);
  const place = "sheet-" + form.dataset.session;
  const SHOWN = 8;
  let people = null;
  let found = [];
  let chosen = 0;
  const here = new Set([...rows.children].map((row) => row.dataset.id));
  const keyOf = () => [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

  // The same rule as the server's `rank`: 0 all of a name or number, more for less of it, null not at all.
  const rank = (one, text) => {
    if (/^\d+$/.test(text)) {
      if (text === one.member_number) return 0;
      if (text.length < 3) return null;
      if (one.member_number.endsWith(text)) return 1;
      return one.phone_ending && text.length <= one.phone_ending.length && one.phone_ending.endsWith(text) ? 2 : null;
    }
    if (/^[a-z]+$/.test(text)) {
      if (one.row_code && text === one.row_code) return 0;
      if (text.length > one.initials.length) return null;
      const letters = [...text];
      if (!letters.every((letter, at) => one.initials[at].includes(letter))) return null;
      return (letters.every((letter, at) => one.initials[at][0] === letter) ? 1 : 2) + (text.length === one.initials.length ? 0 : 2);
    }
    const name = one.name.toLowerCase();
    return text === name ? 0 : name.includes(text) ? 1 : null;
  };
  const plain = (text) => text.normalize("NFKC").replace(/\s/g, "").toLowerCase();
  const look = (typed) => {
    const text = plain(typed);
    if (!text || !people) return [];
    return people
      .map((one) => [rank(one, text), here.has(one.id) ? 1 : 0, one.is_expected ? 0 : 1, one.member_number, one])
      .filter((row) => row[0] !== null)
      .sort((a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2] || (a[3] < b[3] ? -1 : 1))
      .slice(0, SHOWN)
      .map((row) => row[4]);
  };
  const show = () => {
    list.replaceChildren(...found.map((one, at) => {
      const row = document.createElement("li");
      row.id = "candidate-" + at;
      row.setAttribute("role", "option");
      row.setAttribute("aria-selected", String(at === chosen));
      row.className = at === chosen ? "first" : "";
      row.textContent = [one.name, one.member_number, one.building, here.has(one.id) ? words.already : ""].filter(Boolean).join(" · ");
      row.addEventListener("mousedown", (event) => { event.preventDefault(); take(one); });
      return row;
    }));
    field.setAttribute("aria-expanded", String(found.length > 0));
    if (found.length) field.setAttribute("aria-activedescendant", "candidate-" + chosen); else field.removeAttribute("aria-activedescendant");
  };
  const tell = (text) => { said.textContent = text; };
  const parked = () => JSON.parse(localStorage.getItem(place) || "[]");
  const park = (names) => {
    if (names.length) localStorage.setItem(place, JSON.stringify(names)); else localStorage.removeItem(place);
    aside.hidden = !names.length;
    aside.querySelector("ul").replaceChildren(...names.map((name) => {
      const row = document.createElement("li");
      const who = document.createElement("span");
      who.textContent = name;
      const button = (label, act) => {
        const made = document.createElement("button");
        made.type = "button";
        made.className = "btn btn-sm btn-outline-secondary";
        made.textContent = label;
        made.addEventListener("click", act);
        return made;
      };
      const drop = () => park(parked().filter((one) => one !== name));
      row.append(who, button(words.again, () => { field.value = name; drop(); field.focus(); typed(); }), button(words.drop, drop));
      return row;
    }));
  };
  const add = (one, time) => {
    here.add(one.id);
    const row = document.createElement("li");
    row.dataset.id = one.id;
    const who = document.createElement("span");
    who.textContent = one.name + " ";
    const more = document.createElement("small");
    more.textContent = one.member_number + " · " + time;
    who.append(more);
    row.append(who);
    rows.prepend(row);
    count.textContent = String(here.size);
  };
  const take = async (one) => {
    const typedText = field.value;
    field.value = "";
    found = [];
    show();
    if (here.has(one.id)) { tell(one.name + "：" + words.already); return; }
    const body = new URLSearchParams({ csrf_token: form.elements.csrf_token.value, form_id: keyOf(), resident_id: one.id });
    for (const name of ["photo", "reason"]) if (form.elements[name]) body.set(name, form.elements[name].value);
    // A lost answer is asked for again with the same key: the row counts once.
    for (let tries = 0; tries < 3; tries += 1) {
      try {
        const answer = await fetch(form.action, { method: "POST", body, headers: { Accept: "application/json" } });
        const got = await answer.json();
        if (got.problem) { tell(one.name + "：" + got.problem); return; }
        if (got.already) { here.add(one.id); tell(one.name + "：" + words.already); return; }
        add(one, got.time);
        tell(one.name + "：" + words.saved);
        return;
      } catch (problem) {
        tell(one.name + "：" + words.lost);
        await new Promise((resolve) => setTimeout(resolve, 1000));
      }
    }
    if (!field.value) { field.value = typedText; typed(); }
  };
  const typed = () => { chosen = 0; found = look(field.value); show(); };
  field.addEventListener("input", typed);
  field.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      chosen = Math.max(0, Math.min(found.length - 1, chosen + (event.key === "ArrowDown" ? 1 : -1)));
      show();
    } else if (event.key === "Escape") { field.value = ""; typed(); }
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    event.stopPropagation();
    if (!people) { tell(words.loading); return; }
    if (!found.length) typed();
    if (found.length) take(found[chosen]);
    else if (field.value.trim()) {
      park([...new Set([...parked(), field.value.trim()])]);
      tell(field.value.trim() + "：" + words.parked);
      field.value = "";
    }
  });
  park(parked());
  tell(words.loading);
  fetch(form.dataset.people, { headers: { Accept: "application/json" } })
    .then((answer) => answer.json())
    .then((got) => { people = got.people; form.dataset.ready = "1"; tell(""); typed(); })
    .catch(() => tell(words.lost));
}
