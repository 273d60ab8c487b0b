"use strict";
// Shows openapi.json. Texts are set as text, never as HTML.
const element = (name, text, kind) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
};
const row = (table, cells) => {
  const tr = table.appendChild(element("tr"));
  for (const cell of cells) tr.appendChild(element("td", cell));
};
const section = (parent, title) => {
  parent.appendChild(element("h4", title));
  return parent.appendChild(element("table"));
};

function operation(path, method, told) {
  const box = element("details");
  box.dataset.path = (method + " " + path).toLowerCase();
  const head = box.appendChild(element("summary"));
  head.appendChild(element("span", method, "method"));
  head.appendChild(document.createTextNode(path + " "));
  head.appendChild(element("span", told.summary || "", "summary"));
  // What is not looked at is not made.
  box.addEventListener("toggle", () => {
    if (box.dataset.made) return;
    box.dataset.made = "yes";
    if (told.description) box.appendChild(element("p", told.description));
    if (told.parameters && told.parameters.length) {
      const table = section(box, "Parameters");
      for (const p of told.parameters) row(table, [p.name || p.$ref, p.in || "", p.description || ""]);
    }
    const answers = section(box, "Answers");
    for (const [status, answer] of Object.entries(told.responses || {})) row(answers, [status, answer.description || answer.$ref || ""]);
    box.appendChild(element("pre", JSON.stringify(told, null, 2)));
  });
  return box;
}

async function show() {
  const main = document.getElementById("paths");
  const answer = await fetch("/networking/openapi.json");
  if (!answer.ok) throw new Error("openapi.json: " + answer.status);
  const api = await answer.json();
  if (api.info) {
    document.getElementById("title").textContent = api.info.title + " " + (api.info.version || "");
    if (api.info.description) main.appendChild(element("p", api.info.description));
  }
  const boxes = [];
  for (const [path, item] of Object.entries(api.paths || {})) {
    for (const method of ["get", "put", "post", "patch", "delete"]) {
      if (item[method]) boxes.push(main.appendChild(operation(path, method, item[method])));
    }
  }
  document.getElementById("filter").addEventListener("input", (event) => {
    const wanted = event.target.value.toLowerCase();
    for (const box of boxes) box.hidden = !box.dataset.path.includes(wanted);
  });
}

show().catch((error) => {
  document.getElementById("paths").appendChild(element("p", "Cannot show the API: " + error.message));
});
