"use strict";
const get = id => document.getElementById(id);
const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const size = n => { let u = 0; while (n >= 1024 && u < 5) { n /= 1024; u++; } return (u && n < 100 ? n.toFixed(1) : Math.round(n)) + " " + units[u]; };
const span = s => s < 60 ? s + " s" : s < 3600 ? Math.floor(s / 60) + " min" : Math.floor(s / 3600) + " h " + Math.floor(s % 3600 / 60) + " min";
const set = (node, text) => { text = String(text); if (node.textContent !== text) node.textContent = text; };
const history = JSON.parse(get("history").textContent);
let paused = false, state = get("state").textContent, last = 0;

function fill(id, items, key, cells) {
  const body = get(id).tBodies[0], labels = [...get(id).tHead.rows[0].cells];
  const old = new Map([...body.rows].map(row => [row.dataset.key, row]));
  for (const item of items) {
    const name = String(key(item));
    let row = old.get(name);
    old.delete(name);
    if (!row) {
      row = body.insertRow();
      row.dataset.key = name;
      labels.forEach(label => { const cell = row.insertCell(); cell.dataset.label = label.textContent; cell.className = label.className; });
    }
    cells(item).forEach((text, i) => set(row.cells[i], text));
  }
  old.forEach(row => row.remove());
  get(id + "-none").hidden = items.length > 0;
}

function draw() {
  const most = Math.max(1, ...history.map(p => Math.max(p[0], p[1])));
  const line = i => history.map((p, x) => (300 - history.length + 1 + x) + "," + (98 - 96 * p[i] / most).toFixed(1)).join(" ");
  get("line-in").setAttribute("points", line(0));
  get("line-out").setAttribute("points", line(1));
  set(get("peak"), size(most) + "/s");
}

function show(data) {
  const s = data.status;
  set(get("clients"), s.clients + " of " + s.clients_max);
  set(get("transfers"), s.transfers);
  set(get("rate-in"), size(s.in_per_second) + "/s");
  set(get("rate-out"), size(s.out_per_second) + "/s");
  set(get("workers"), s.workers_busy + " of " + s.workers);
  set(get("waiting"), s.waiting);
  set(get("parked"), s.parked);
  set(get("stalls"), s.stalls);
  history.push([s.in_per_second, s.out_per_second]);
  if (history.length > 300) history.shift();
  draw();
  if (s.state !== state) {
    state = s.state;
    set(get("state"), state);
    set(get("said"), "The server is " + state + ".");
    document.title = "poolftpd: " + state;
  }
  fill("sessions", data.sessions, x => x.session, x => [
    x.session, x.user ?? "", x.peer_ip, x.host ?? "", x.tls ?? "no",
    x.state === "transfer" ? x.verb + (x.path ? " " + x.path : "") : x.state,
    x.bytes === undefined ? "" : size(x.bytes) + (x.size ? " of " + size(x.size) : ""),
    x.per_second === undefined ? "" : size(x.per_second) + "/s",
    span(x.idle_seconds)]);
  fill("slaves", s.slaves, x => x.slave, x => [x.slave, x.process || "in master", x.sessions, x.transfers, size(x.bytes), x.draining ? "draining" : "serving"]);
  fill("roots", s.roots, x => x.directory, x => [x.directory, x.problem ?? "available", x.free === undefined ? "" : size(x.free)]);
  fill("bans", s.bans, x => [x.address, x.user, x.host], x => [x.address ?? "", x.user ?? "", x.host ?? "", x.failures, span(x.seconds)]);
  fill("certificates", s.certificates, x => x.file, x => [x.file, x.until]);
}

const hold = get("hold");
hold.hidden = false;
hold.addEventListener("click", () => {
  paused = !paused;
  hold.setAttribute("aria-pressed", paused);
});
const source = new EventSource("events");
source.addEventListener("state", event => {
  if (Date.now() - last > 10000 && last) set(get("said"), "");
  last = Date.now();
  if (!paused) show(JSON.parse(event.data));
});
source.onerror = () => set(get("said"), "The server does not answer. Trying again.");
source.onopen = () => set(get("said"), "");
draw();
