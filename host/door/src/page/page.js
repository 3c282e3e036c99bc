"use strict";
// A form for each method, from openapi.json. Nothing that an instance says is ever taken for markup.

const at = (id) => document.getElementById(id);

function element(kind, text, name) {
  const made = document.createElement(kind);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  return made;
}

/** Whether a schema takes nothing but texts, which need no quotes then. */
const isText = (schema) => schema?.type === "string";
const isOptional = (schema) => schema?.anyOf?.some((one) => one.type === "null") ?? false;

/** What somebody typed as a value: JSON, or a text where nothing else can be meant. */
function typed(text, schema) {
  if (isText(schema)) {
    if (text.startsWith('"')) {
      try { return JSON.parse(text); } catch { /* a text with a quote in front */ }
    }
    return text;
  }
  return JSON.parse(text);
}

/** What says who asks. The token is kept by this page alone, as long as it is open. */
const who = () => (at("token").value ? { Authorization: `Bearer ${at("token").value}` } : {});

function field(form, name, schema) {
  const input = element("textarea");
  input.name = name;
  input.rows = 1;
  input.spellcheck = false;
  input.placeholder = isText(schema) ? "text" : isOptional(schema) ? "JSON, or nothing" : "JSON";
  form.append(element("span", name), input);
  input.setAttribute("aria-label", name);
  return { name, schema, input };
}

/** The body: an object by names, or of a method of raw bytes an array of one text. */
function bodyOf(fields, isRaw) {
  if (isRaw) return fields[0].input.value === "" ? [] : [fields[0].input.value];
  const body = {};
  for (const { name, schema, input } of fields) {
    if (input.value === "" && isOptional(schema)) continue;
    try {
      body[name] = typed(input.value, schema);
    } catch (error) {
      throw new Error(`${name} is not JSON: ${error.message}`);
    }
  }
  return body;
}

/** Shows a response. */
async function tell(answer, output) {
  const text = await answer.text();
  output.className = answer.ok ? "good" : "bad";
  const lsn = answer.headers.get("Ambrosia-Lsn");
  const of = answer.headers.get("Ambrosia-Request-Id") ?? (lsn ? `lsn ${lsn}` : "");
  output.textContent = `${answer.status} ${of}\n${text}`;
}

/** Asks for the result of a request that was not waited for, until it is there. */
async function follow(place, output) {
  for (;;) {
    const url = new URL(place.slice(1), document.baseURI);
    url.searchParams.set("wait", "30");
    const answer = await fetch(url, { headers: who() });
    await tell(answer, output);
    if (answer.status !== 202) return;
  }
}

async function send(path, fields, isRaw, key, isAsync, output) {
  output.className = "";
  output.textContent = "…";
  try {
    const headers = { "Content-Type": "application/json", ...who() };
    if (key.value) headers["Idempotency-Key"] = key.value;
    if (isAsync.checked) headers.Prefer = "respond-async";
    const answer = await fetch(path.slice(1), { method: "POST", headers, body: JSON.stringify(bodyOf(fields, isRaw)) });
    await tell(answer, output);
    if (answer.status === 202) await follow(answer.headers.get("Location"), output);
  } catch (error) {
    output.className = "bad";
    output.textContent = error.message;
  }
  output.dataset.ready = "true";
}

/** Asks a query, by the values as they were typed: a text needs no quotes in an address either. */
async function ask(path, fields, output) {
  output.className = "";
  output.textContent = "…";
  try {
    const url = new URL(path.slice(1), document.baseURI);
    for (const { name, schema, input } of fields) {
      if (input.value !== "" || !isOptional(schema)) url.searchParams.set(name, input.value);
    }
    await tell(await fetch(url, { headers: who() }), output);
  } catch (error) {
    output.className = "bad";
    output.textContent = error.message;
  }
  output.dataset.ready = "true";
}

function method(path, operation) {
  const block = element("details");
  block.id = operation.operationId;
  const summary = element("summary", operation["x-ambrosia-signature"]);
  const kind = operation["x-ambrosia-kind"];
  if (kind !== "update") summary.append(element("small", ` ${kind}`));
  block.append(summary);
  for (const route of operation["x-ambrosia-routes"] ?? []) block.append(element("code", route, "route"));
  if (operation.description) block.append(element("p", operation.description, "docs"));
  const form = element("form");
  const isRaw = kind === "raw";
  const given = operation.requestBody.content["application/json"].schema;
  const named = isRaw ? { bytes: given.items } : given.oneOf[0].properties;
  // In the order of the method, which an object need not keep.
  const names = isRaw ? ["bytes"] : operation["x-ambrosia-arguments"];
  const fields = names.map((name) => field(form, name, named[name]));
  if (kind === "query") {
    const output = element("output");
    form.append(element("button", "GET"), output);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      ask(path, fields, output);
    });
    block.append(form);
    return block;
  }
  const key = element("input", undefined, "key");
  key.placeholder = "made if there is none";
  key.setAttribute("aria-label", "Idempotency-Key");
  form.append(element("span", "Idempotency-Key"), key);
  const isAsync = element("input");
  isAsync.type = "checkbox";
  isAsync.setAttribute("aria-label", "respond-async");
  form.append(element("span", "respond-async"), isAsync);
  const output = element("output");
  form.append(element("button", "POST"), output);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(path, fields, isRaw, key, isAsync, output);
  });
  block.append(form);
  return block;
}

function show(document_) {
  const sections = new Map();
  for (const { name } of document_.tags) {
    const section = element("section");
    section.append(element("h2", name));
    sections.set(name, section);
  }
  for (const [path, { post }] of Object.entries(document_.paths)) {
    // Paths of their own are shown beside the methods that are asked there.
    if (post && path.startsWith("/v1/")) sections.get(post.tags[0])?.append(method(path, post));
  }
  at("instances").replaceChildren(...sections.values());
  if (sections.size === 0) at("instances").append(element("p", "no instance is registered"));
}

function filter() {
  const wanted = at("filter").value.toLowerCase();
  for (const section of at("instances").querySelectorAll("section")) {
    let any = false;
    for (const block of section.querySelectorAll("details")) {
      block.hidden = !block.id.toLowerCase().includes(wanted);
      any ||= !block.hidden;
    }
    section.hidden = !any && wanted !== "";
  }
}

async function load() {
  at("error").hidden = true;
  try {
    const answer = await fetch("openapi.json", { headers: who() });
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.detail);
    show(told);
    // A link leads to a method, and never sends anything.
    const linked = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (linked) { linked.open = true; linked.scrollIntoView(); }
    document.body.dataset.ready = "true";
  } catch (error) {
    at("error").textContent = `what there is can't be read: ${error.message}`;
    at("error").hidden = false;
  }
}

at("filter").addEventListener("input", filter);
at("token").addEventListener("change", load);
load();
