"use strict";
// Each click is a command of `debug`, and each answer its JSON. Nothing that a guest said is ever taken for markup.

const at = (id) => document.getElementById(id);

/** Asks commands one after the other: the journey is at one record. */
let before = Promise.resolve();
function ask(line) {
  const asked = before.then(() => fetch("command", { method: "POST", body: line })).then((answer) => answer.json());
  before = asked.catch(() => {});
  return asked;
}

function element(kind, text, name) {
  const made = document.createElement(kind);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  return made;
}

/** An element with others in it, in place of what it had. */
function fill(parent, children) {
  parent.replaceChildren(...children);
}

const shown = (value) => (value === undefined ? "" : JSON.stringify(value));

function messageLine(message, position) {
  const { source, kind, method, call_id: id, request, arguments: args } = message;
  const words = [position, source, kind, method, id === undefined ? "" : `id ${id}`, request ? `request ${request}` : "", shown(args)];
  return words.filter((word) => word !== "" && word !== undefined).join(" ");
}

function effectLine({ kind, to, method, id, value }) {
  const words = ["→", kind, to === "outside" ? "" : to, method, id === undefined ? "" : `id ${id}`, shown(value)];
  return words.filter((word) => word !== "" && word !== undefined).join(" ");
}

function showMoment(moment) {
  const { lsn, record, fuel, effects = [], prints = [], fault, now } = moment;
  at("slider").max = Math.max(Number(at("slider").max), lsn);
  at("slider").value = lsn;
  at("lsn").textContent = `${lsn} of ${at("slider").max}`;
  if (!record) {
    at("head").textContent = `record ${lsn}`;
    at("body").textContent = "a checkpoint: the log goes back no further";
  } else {
    const { kind, epoch, time, bytes, messages, lsn: _lsn, acknowledged: _acknowledged, ...rest } = record;
    at("head").textContent = `record ${lsn} · ${kind} · epoch ${epoch}`;
    at("body").textContent = [time, `${bytes} bytes`, fuel === undefined ? "" : `fuel ${fuel}`].filter(Boolean).join(" · ");
    const lines = Object.entries(rest).map(([name, value]) => element("div", `${name} ${shown(value)}`, "message"));
    (messages ?? []).forEach((message, position) => {
      const block = element("div", messageLine(message, position), "message");
      effects.filter((effect) => effect.cause === position).forEach((effect) => block.append(element("div", effectLine(effect), "effect")));
      lines.push(block);
    });
    if (!messages) effects.forEach((effect) => lines.push(element("div", effectLine(effect), "effect")));
    fill(at("messages"), lines);
  }
  at("fault").hidden = !fault;
  if (fault) at("fault").querySelector("pre").textContent = `${fault.reason}\n${fault.backtrace}`;
  at("prints").hidden = prints.length === 0;
  at("prints").querySelector("pre").textContent = prints.map(({ text }) => text).join("");
  const waits = [
    ...now.open_calls.map(({ id, peer }) => `call ${id} to ${peer}`),
    ...now.timers.map(({ id, due }) => `timer ${id}, due ${due}`),
    ...now.outboxes.map(({ peer, messages }) => `${messages} messages for ${peer}`),
  ];
  fill(at("now"), waits.length ? [element("h3", "waits for"), ...waits.map((line) => element("div", line))] : []);
}

/** A value as a tree. */
function tree(name, value) {
  if (value === null || typeof value !== "object") return element("div", `${name}: ${shown(value)}`, "leaf");
  const entries = Object.entries(value);
  const block = element("details");
  block.open = entries.length <= 24;
  block.append(element("summary", `${name} ${Array.isArray(value) ? `[${entries.length}]` : `{${entries.length}}`}`));
  entries.forEach(([key, inner]) => block.append(tree(key, inner)));
  return block;
}

function changeLine({ path, was, is }) {
  const words = [path, was === undefined ? "" : `was ${shown(was)}`, is === undefined ? "is gone" : `is ${shown(is)}`];
  return element("div", words.filter(Boolean).join(" "), "leaf new");
}

/** The state at the record, with what the record changed in it. */
async function showState() {
  const { answers, error } = await ask("state");
  const found = answers.find((answer) => "state" in answer);
  if (!found) return fill(at("state"), [element("p", error ?? "the state is not known", "dim")]);
  const changes = (await ask("changes")).answers.find((answer) => "changes" in answer)?.changes.changes ?? [];
  const waiting = found.state.waiting.map(({ handler, awaits }) => element("div", `${handler} awaits ${awaits}`, "leaf"));
  const head = changes.length ? [element("h3", "the record changed"), ...changes.map(changeLine)] : [];
  fill(at("state"), [...head, tree("state", found.state.value), ...waiting]);
}

/** Does what a command says, and shows what came of it. */
async function go(line) {
  const { answers, error } = await ask(line);
  at("error").hidden = !error;
  at("error").textContent = error ?? "";
  let other;
  let lsn;
  for (const answer of answers) {
    if (answer.moment) {
      showMoment(answer.moment);
      lsn = answer.moment.lsn;
    } else {
      other = answer;
    }
  }
  at("answer").hidden = !other;
  if (other) {
    const [[name, value]] = Object.entries(other);
    at("answer").querySelector("h3").textContent = name;
    at("answer").querySelector("pre").textContent = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  }
  if (lsn !== undefined) await showState();
  document.body.dataset.ready = String(lsn ?? "");
}

function wire() {
  for (const button of document.querySelectorAll("button[data-command]")) {
    button.addEventListener("click", () => go(button.dataset.command));
  }
  at("slider").addEventListener("input", () => (at("lsn").textContent = `${at("slider").value} of ${at("slider").max}`));
  at("slider").addEventListener("change", () => go(`goto ${at("slider").value}`));
  at("line").addEventListener("submit", (event) => {
    event.preventDefault();
    go(at("command").value);
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.tagName === "INPUT") return;
    const command = { ArrowRight: "next", ArrowLeft: "back", Home: "goto start", End: "goto end" }[event.key];
    if (command) go(command);
  });
}

async function begin() {
  wire();
  const { answers } = await ask("journey");
  const { instance, first, last } = answers[0].journey;
  at("instance").textContent = instance;
  document.title = `${instance} · ambrosia debug`;
  [at("slider").min, at("slider").max] = [first, last];
  // A place in the address, such as #12, is where to begin.
  await go(location.hash.length > 1 ? `goto ${decodeURIComponent(location.hash.slice(1))}` : "show");
}

begin().catch((error) => {
  at("error").hidden = false;
  at("error").textContent = `the journey can't be reached: ${error}`;
});
