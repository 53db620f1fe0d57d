/* Makes the newsroom's pages handier; every one of them works without this. */
(() => {
  "use strict";

  /** Times are written in UTC by the server; editors read them in their own zone. */
  function localTimes(within) {
    const format = { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" };
    for (const time of within.querySelectorAll("time[datetime]")) {
      time.title = time.textContent.trim();
      time.textContent = new Date(time.dateTime).toLocaleString(undefined, format);
    }
  }

  function showComposing(form) {
    for (const field of form.querySelectorAll("[data-counts]")) {
      const counter = form.querySelector(`[data-counter="${field.id}"]`);
      const preview = form.querySelector(`[data-preview="${field.id}"]`);
      const placeholder = field.id === "title" ? "Your headline" : "";
      const update = () => {
        const length = [...field.value.trim()].length;
        counter.textContent = length ? `${length} so far.` : "";
        counter.classList.toggle("over", length > Number(field.dataset.counts));
        const text = field.value.trim() || placeholder;
        const marked = preview.dataset.marked || "{title}";
        preview.textContent = marked.replace("{title}", () => text);
      };
      field.addEventListener("input", update);
      update();
    }
  }

  function offerToShowPassword(label) {
    const form = label.closest("form");
    label.hidden = false;
    label.querySelector("input").addEventListener("change", (event) => {
      form.elements.password.type = event.target.checked ? "text" : "password";
    });
  }

  /** A second click on a button does nothing; coming back to the page makes it work again. */
  function submitOnce() {
    document.addEventListener("submit", (event) => {
      const buttons = event.target.querySelectorAll("button");
      setTimeout(() => buttons.forEach((button) => (button.disabled = true)));
    });
    window.addEventListener("pageshow", () => {
      document.querySelectorAll("button").forEach((button) => (button.disabled = false));
    });
  }

  localTimes(document);
  document.querySelectorAll("[data-compose]").forEach(showComposing);
  document.querySelectorAll("[data-show-password]").forEach(offerToShowPassword);
  submitOnce();
  document.addEventListener("htmx:load", (event) => localTimes(event.target));
})();
