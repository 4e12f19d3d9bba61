"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const checks = all("details.check");
  const filter = document.querySelector("form.filter");

  if (filter) {
    const said = filter.querySelector(".shown");
    const apply = () => {
      const outcomes = new Set(all("input:checked", filter).map((box) => box.value));
      const group = filter.elements.group.value;
      for (const check of checks) {
        check.hidden = !outcomes.has(check.dataset.outcome) || (group !== "" && check.dataset.group !== group);
      }
      for (const section of all("section.outcome")) {
        section.hidden = !section.querySelector("details.check:not([hidden])");
      }
      said.textContent = `${checks.filter((check) => !check.hidden).length} of ${checks.length} checks shown`;
    };
    filter.addEventListener("change", apply);
    filter.addEventListener("submit", (event) => event.preventDefault());
    for (const button of all("button[data-all]", filter)) {
      button.addEventListener("click", () => {
        for (const check of checks) check.open = button.dataset.all !== "";
      });
    }
    filter.hidden = false;
    filter.reset();
    apply();
  }

  // A page from a file may have no clipboard: then the text is selected and copied the old way.
  const copy = async (code) => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      return true;
    } catch {
      getSelection().selectAllChildren(code);
      return document.execCommand("copy");
    }
  };
  for (const button of all("button.copy")) {
    const name = button.getAttribute("aria-label");
    const say = (text, spoken) => {
      button.textContent = text;
      button.setAttribute("aria-label", spoken);
    };
    button.hidden = false;
    button.addEventListener("click", async () => {
      const code = button.closest(".fix").querySelector("code");
      const text = (await copy(code)) ? "Copied" : "Selected: press Ctrl+C";
      say(text, text);
      setTimeout(() => say("Copy", name), 2500);
    });
  }

  // A link to a check opens it, also when a filter hides it.
  const reveal = () => {
    const check = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!check || !check.matches("details.check")) return;
    check.hidden = false;
    check.closest("section.outcome").hidden = false;
    check.open = true;
    check.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = checks.filter((check) => !check.open);
    for (const check of closed) check.open = true;
  });
  addEventListener("afterprint", () => {
    for (const check of closed) check.open = false;
  });
})();
