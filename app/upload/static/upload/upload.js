// The upload page without reloads: choose, drop or paste; one request for each picture, with progress and cancel.
// Without this file the page is a plain form that does the same.
"use strict";

document.documentElement.classList.add("js");

const announcements = document.getElementById("announcements");
let unsaid = [];

// Screen readers drop what is replaced at once, so what happens together is said together.
function say(text) {
  unsaid.push(text);
  if (unsaid.length === 1) {
    setTimeout(() => {
      announcements.textContent = unsaid.join(". ");
      unsaid = [];
    }, 300);
  }
}

// --- Copying a link: also on the picture's own page --------------------------------------------------

// The old way works without TLS too, where pages have no navigator.clipboard, and asks for no permission.
async function copy(text) {
  const field = document.createElement("textarea");
  field.className = "unseen";
  field.value = text;
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  if (!copied) await navigator.clipboard.writeText(text);
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest(".copy");
  if (!button) return;
  const label = button.dataset.label ?? button.textContent;
  button.dataset.label = label;
  await copy(button.closest(".link").querySelector("a").href);
  button.focus();
  button.textContent = button.dataset.copied;
  say(button.dataset.copied);
  setTimeout(() => { button.textContent = label; }, 2000);
});

// --- Uploading ---------------------------------------------------------------------------------------

const form = document.getElementById("upload");
if (form) {
  const AT_ONCE = 2;
  const LONGEST_WAIT = 120;
  const MOST_TRIES = 10;
  const template = document.getElementById("row");
  const words = template.dataset;
  const list = document.getElementById("uploads");
  const field = form.elements.image_file;
  const waiting = [];
  let active = 0;
  let resumeAt = 0;
  let timer = 0;
  let stale = false;

  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (whole, key) => values[key] ?? whole);

  function add(files) {
    if (!files.length) return;
    say(fill(words.started, { count: files.length }));
    list.hidden = false;
    const uploads = [...files].map((file) => new Upload(file));
    list.prepend(...uploads.map((upload) => upload.node));
    for (const upload of uploads) upload.enqueue();
    pump();
  }

  function pump() {
    const pause = resumeAt - Date.now();
    if (pause > 0) {
      clearTimeout(timer);
      timer = setTimeout(pump, Math.min(pause, 1000));
      for (const upload of waiting) upload.tell(fill(words.busy, { seconds: Math.ceil(pause / 1000) }));
      return;
    }
    while (active < AT_ONCE && waiting.length) waiting.shift().send();
    if (!active && !waiting.length && stale) refresh();
  }

  // The list of newest pictures is the server's; only the first page of it changes.
  async function refresh() {
    stale = false;
    if (new URLSearchParams(location.search).get("page") > 1) return;
    const answer = await fetch(form.action, { headers: { Accept: "text/html" } });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.getElementById("newest").replaceWith(page.getElementById("newest"));
  }

  class Upload {
    constructor(file) {
      this.file = file;
      this.tries = 0;
      this.node = template.content.firstElementChild.cloneNode(true);
      this.part("name bdi").textContent = file.name;
      this.part("cancel").setAttribute("aria-label", fill(words.cancel, file));
      this.part("cancel").addEventListener("click", () => this.cancel());
      this.part("again").setAttribute("aria-label", fill(words.again, file));
      this.part("again").addEventListener("click", () => { this.again(); });
      this.part("progress").setAttribute("aria-label", fill(words.progress, file));
      const preview = this.part("preview");
      preview.addEventListener("load", () => { preview.hidden = false; });
      preview.addEventListener("error", () => { preview.hidden = true; });
      if (file.type.startsWith("image/")) preview.src = URL.createObjectURL(file);
    }

    part(name) {
      return this.node.querySelector(name === "progress" ? name : `.${name}`);
    }

    tell(text, state) {
      this.part("message").textContent = text;
      if (state) this.node.dataset.state = state;
    }

    enqueue() {
      if (this.file.size > form.dataset.maxMb * 1024 * 1024) {
        this.fail(words.large);
        return;
      }
      this.part("progress").value = 0;
      this.tell(words.waiting, "waiting");
      waiting.push(this);
    }

    again() {
      this.tries = 0;
      this.enqueue();
      this.part("cancel").focus();
      pump();
    }

    send() {
      active += 1;
      this.tries += 1;
      const data = new FormData();
      data.append("csrfmiddlewaretoken", form.elements.csrfmiddlewaretoken.value);
      data.append("image_file", this.file);
      this.request = new XMLHttpRequest();
      this.request.open("POST", form.action);
      this.request.setRequestHeader("Accept", "application/json");
      this.request.upload.addEventListener("progress", (event) => {
        const percent = Math.floor(event.loaded / event.total * 100);
        this.part("progress").value = percent;
        this.tell(`${percent} %`);
      });
      // From here on the server has it, and cancelling would only hide that.
      this.request.upload.addEventListener("load", () => {
        this.keepFocus();
        this.part("progress").removeAttribute("value");
        this.tell(words.checking, "checking");
      });
      this.request.addEventListener("load", () => this.answered());
      this.request.addEventListener("error", () => this.fail(words.offline, "broken"));
      this.request.addEventListener("loadend", () => { active -= 1; pump(); });
      this.tell("0 %", "sending");
      this.request.send(data);
    }

    answered() {
      const { status, responseText } = this.request;
      let answer = {};
      try {
        answer = JSON.parse(responseText);
      } catch {
        // nginx's own pages are HTML.
      }
      if (status === 201) {
        this.succeed(answer);
      } else if ((status === 429 || status === 503) && this.tries < MOST_TRIES) {
        this.postpone();
      } else {
        const message = answer.error?.message ?? (status === 413 ? words.large : fill(words.error, { status }));
        this.fail(message, status >= 500 ? "broken" : "failed");
      }
    }

    // Too many at once, or a server that restarts: everything waits as long as the server says.
    postpone() {
      const header = this.request.getResponseHeader("Retry-After") ?? "";
      const seconds = /^\d+$/.test(header) ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
      resumeAt = Math.max(resumeAt, Date.now() + Math.min(Math.max(seconds || 5, 1), LONGEST_WAIT) * 1000);
      this.part("progress").value = 0;
      this.tell(words.waiting, "waiting");
      waiting.unshift(this);
    }

    succeed(picture) {
      stale = true;
      const page = document.createElement("a");
      page.href = picture.page_url;
      page.textContent = picture.name;
      this.part("name bdi").replaceChildren(page);
      const link = this.part("link").querySelector("a");
      link.href = picture.url;
      link.textContent = link.href;
      this.release();
      this.part("preview").src = picture.thumbnail_url;
      this.tell("", "done");
      say(fill(words.done, this.file));
    }

    fail(message, state = "failed") {
      this.keepFocus();
      if (state === "failed") this.release();
      this.tell(message, state);
      say(fill(words.failed, { name: this.file.name, message }));
    }

    cancel() {
      const position = waiting.indexOf(this);
      if (position >= 0) waiting.splice(position, 1);
      else this.request.abort();
      this.keepFocus();
      this.tell(words.cancelled, "cancelled");
      say(words.cancelled);
    }

    // A button that vanishes must not take the keyboard's place on the page with it.
    keepFocus() {
      if (this.node.contains(document.activeElement)) field.focus();
    }

    // A preview of the file is no longer needed once the thumbnail is there.
    release() {
      URL.revokeObjectURL(this.part("preview").src);
    }
  }

  field.addEventListener("change", () => {
    add(field.files);
    field.value = "";
  });

  document.addEventListener("paste", (event) => {
    if (!event.clipboardData.files.length) return;
    event.preventDefault();
    add(event.clipboardData.files);
  });

  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    document.body.classList.add("dragging");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dragging");
  });
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    document.body.classList.remove("dragging");
    const items = [...event.dataTransfer.items].filter((item) => item.kind === "file");
    add(items.filter((item) => !item.webkitGetAsEntry?.()?.isDirectory).map((item) => item.getAsFile()));
  });

  addEventListener("beforeunload", (event) => {
    if (active || waiting.length) event.preventDefault();
  });
}
