// The demo's call: WHIP (RFC 9725) against the allocator that serves this page, and what it shows.

import { race } from "/v1/race.js";

const SESSIONS = "/v1/sessions";
const SHOW_EVERY_MS = 500;
const LOST_MS = 1000; // so long a lost way is given to come back by itself
const FALL = 0.95; // of a meter, from one frame to the next
const EPOCH_S = Date.UTC(2026, 0, 1) / 1000;
const at = (id) => document.getElementById(id);

// A token of role allocator, where this allocator is not public; a fragment is sent to nobody.
const token = new URLSearchParams(location.hash.slice(1)).get("token");
const authorised = token ? { Authorization: `Bearer ${token}` } : {};
if (!token) at("place").disabled = true; // only callers with a token speak for others

let call = null;

class Meter {
  constructor(context, stream, element) {
    this.analyser = context.createAnalyser();
    this.samples = new Float32Array(this.analyser.fftSize);
    this.element = element;
    context.createMediaStreamSource(stream).connect(this.analyser);
  }
  show() {
    this.analyser.getFloatTimeDomainData(this.samples);
    const power = this.samples.reduce((sum, each) => sum + each * each, 0) / this.samples.length;
    this.element.value = Math.max(Math.min(1, 4 * Math.sqrt(power)), FALL * this.element.value);
  }
}

function showMeters() {
  if (!call) return;
  call.meters.forEach((each) => each.show());
  requestAnimationFrame(showMeters);
}

function say(text, wrong = false) {
  at("said").textContent = text;
  at("said").classList.toggle("wrong", wrong);
}

function show(id, value) {
  at(id).textContent = value;
}

async function request(method, url, type, body, more = {}) {
  const headers = { ...authorised, ...more };
  if (type) headers["Content-Type"] = type;
  const response = await fetch(url, { method, headers, body });
  const text = await response.text();
  if (response.ok) return { text, headers: response.headers };
  let reason = text;
  try {
    reason = JSON.parse(text).detail;
  } catch { /* a proxy's own page */ }
  throw new Error(`${response.status}: ${reason}`);
}

async function start() {
  const began = performance.now();
  const peer = new RTCPeerConnection({ bundlePolicy: "max-bundle", iceServers: [] });
  const pings = new Map();
  call = { peer, began, pings, meters: [], channel: peer.createDataChannel("echo") };
  call.channel.onmessage = ({ data }) => {
    show("echo", Math.round(performance.now() - pings.get(data)));
    pings.delete(data);
  };
  if (at("microphone").checked) await addMicrophone(peer);
  peer.onconnectionstatechange = () => changed(peer);
  await peer.setLocalDescription(await peer.createOffer());
  const query = at("place").value ? `?client_ip=${encodeURIComponent(at("place").value)}` : "";
  const { text, headers } = await request(
    "POST", SESSIONS + query, "application/sdp", peer.localDescription.sdp);
  Object.assign(call, {
    answer: text,
    url: headers.get("Location"),
    route: JSON.parse(headers.get("Firsthop-Route")),
  });
  showUfrag(text);
  showRoute();
  await peer.setRemoteDescription({ type: "answer", sdp: text });
}

async function addMicrophone(peer) {
  const media = await navigator.mediaDevices.getUserMedia({
    audio: { echoCancellation: true },
  });
  const mine = Object.assign(call, { media, context: new AudioContext(), player: new Audio() });
  requestAnimationFrame(showMeters);
  mine.meters.push(new Meter(mine.context, media, at("sent")));
  for (const track of media.getTracks()) peer.addTrack(track, media);
  peer.ontrack = ({ streams: [stream] }) => {
    mine.player.srcObject = stream;
    mine.player.play();
    mine.meters.push(new Meter(mine.context, stream, at("heard")));
  };
}

function changed(peer) {
  if (call?.peer !== peer) return; // hung up meanwhile
  const state = peer.connectionState;
  if (state === "connected" && !call.connected) {
    call.connected = performance.now();
    show("connected", Math.round(call.connected - call.began));
    call.timer = setInterval(measure, SHOW_EVERY_MS);
    measureRelays().catch((error) => show("measured", error.message));
  }
  const words = {
    connected: "Connected. What you say comes back.",
    connecting: "Connecting …",
    disconnected: "The way is lost …",
    failed: "No relay could be reached. Restart ICE, or start again.",
  };
  say(words[state] ?? state, state === "failed");
  if (state === "disconnected") setTimeout(() => restartIfLost(peer), LOST_MS);
}

// Browsers keep spare ways for half a minute only; later it takes new checks to find one.
async function restartIfLost(peer) {
  if (call?.peer !== peer || peer.connectionState !== "disconnected" || at("stop").disabled) return;
  await doing("The way is lost; restarting ICE …", restart);
}

async function measure() {
  const mine = call;
  const { peer, channel, pings } = mine;
  if (channel.readyState === "open" && pings.size < 8) {
    const ping = String(performance.now());
    pings.set(ping, performance.now());
    channel.send(ping);
  }
  const all = [...(await peer.getStats()).values()];
  if (call !== mine) return; // hung up meanwhile
  const transport = all.find((each) => each.type === "transport");
  const pair = all.find((each) => each.id === transport?.selectedCandidatePairId);
  if (!pair) return;
  show("rtt", Math.round(pair.currentRoundTripTime * 1000));
  const end = (id) => all.find((each) => each.id === id) ?? {};
  const here = end(pair.localCandidateId);
  const relay = end(pair.remoteCandidateId);
  show("way-you", `${here.address ?? "this browser"}, ${here.protocol}`);
  const known = call.route.relays.find(
    (each) => each.ipv4 === relay.address || each.ipv6 === relay.address);
  const name = known ? `${known.id} (${known.region})` : "";
  show("way-relay", `${name} ${relay.address}:${relay.port}`);
  call.relay = known?.id;
}

// The same snippet that any page may load; it also tells the allocator what it measured.
async function measureRelays() {
  const whom = at("place").value ? { client_ip: at("place").value } : {};
  const { text } = await request("POST", "/v1/races", "application/json", JSON.stringify(whom));
  const ticket = JSON.parse(text);
  show("measured", "Measuring …");
  const samples = await race("", ticket);
  fill("relays", ticket.relays.map(({ id, region, rtt_ms }) => {
    const found = samples.find((each) => each.relay === id);
    const said = found ? `${found.rtt_ms.toFixed(1)} ms` : "no answer";
    return [`${id} (${region})`, `${said}, expected ${rtt_ms.toFixed(1)} ms`];
  }));
  show("measured", `${samples.length} of ${ticket.relays.length} answered this browser's checks.`);
}

// Only `firsthop up` can do it. The next way is by another of the answer's relays.
async function kill() {
  const { text } = await request("POST", `/demo/relays/${encodeURIComponent(call.relay)}/kill`);
  const { killed, back_in_s } = JSON.parse(text);
  say(`${killed} is dead, and comes back in ${back_in_s} s. Watch the way; new calls go elsewhere.`);
}

function showRoute() {
  const { relays, transceiver, transceiver_region, reason, plan, status } = call.route;
  show("way-relay", relays.map((each) => each.id).join(", "));
  show("way-end", `${transceiver} (${transceiver_region})`);
  show("reason", `Why: ${reason}. Decided by plan ${plan} and status ${status}; expected round ` +
    `trips ${relays.map((each) => `${each.id} ${each.rtt_ms} ms`).join(", ")}.`);
}

// The layout of docs/credentials.md: 23 octets in 31 characters.
function showUfrag(description) {
  const ufrag = valueOf("ice-ufrag", description);
  const octets = Uint8Array.from(atob(ufrag + "="), (each) => each.charCodeAt(0));
  const number = (from, to) => octets.slice(from, to).reduce((sum, each) => sum * 256 + each, 0);
  const hex = (from, to) =>
    [...octets.slice(from, to)].map((each) => each.toString(16).padStart(2, "0")).join("");
  const expiry = new Date((EPOCH_S + 16 * number(5, 8)) * 1000);
  const rows = [
    ["version, key", `${octets[0] >> 6}, ${octets[0] & 63}`],
    ["transceiver region", `${number(1, 3)} = ${call.route.transceiver_region}`],
    ["transceiver", `${number(3, 5)} = ${call.route.transceiver}`],
    ["good for new flows until", expiry.toLocaleString()],
    ["random", hex(8, 15)],
    ["tag, which relays check", hex(15, 23)],
  ];
  show("ufrag", ufrag);
  fill("fields", rows);
}

function fill(id, rows) {
  at(id).replaceChildren(...rows.map(([name, value]) => {
    const row = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = name;
    const cell = document.createElement("td");
    cell.textContent = value;
    row.append(head, cell);
    return row;
  }));
}

const valueOf = (name, description) => description.match(new RegExp(`a=${name}:(.*)`))[1].trim();

async function restart() {
  const { peer, url } = call;
  await peer.setLocalDescription(await peer.createOffer({ iceRestart: true }));
  const local = peer.localDescription.sdp;
  const lines = ["ice-ufrag", "ice-pwd"].map((name) => `a=${name}:${valueOf(name, local)}\r\n`);
  const { text } = await request(
    "PATCH", url, "application/trickle-ice-sdpfrag", lines.join(""), { "If-Match": "*" });
  let answer = call.answer;
  for (const name of ["ice-ufrag", "ice-pwd"]) {
    answer = answer.replaceAll(
      `a=${name}:${valueOf(name, answer)}`, `a=${name}:${valueOf(name, text)}`);
  }
  call.answer = answer;
  showUfrag(answer);
  await peer.setRemoteDescription({ type: "answer", sdp: answer });
}

async function stop() {
  const { peer, timer, media, context, player, url } = call;
  call = null;
  clearInterval(timer);
  media?.getTracks().forEach((track) => track.stop());
  if (player) player.srcObject = null;
  peer.close();
  await context?.close();
  if (url) await request("DELETE", url);
}

function buttons(busy) {
  at("start").disabled = busy || call !== null;
  for (const id of ["restart", "stop", "kill"]) at(id).disabled = busy || call === null;
}

// One thing at a time; what goes wrong is said.
async function doing(words, work) {
  buttons(true);
  say(words);
  try {
    await work();
  } catch (error) {
    say(error.message, true);
    if (call && !call.url) await stop().catch(() => {});
  }
  buttons(false);
}

at("controls").addEventListener("submit", (event) => {
  event.preventDefault();
  doing("Asking …", start);
});
at("restart").addEventListener("click", () => doing("Restarting ICE …", async () => {
  await restart();
  say("Connected under a new credential.");
}));
at("kill").addEventListener("click", () => doing("Killing the relay …", kill));
at("stop").addEventListener("click", () => doing("Hanging up …", async () => {
  await stop();
  say("Not connected.");
}));
