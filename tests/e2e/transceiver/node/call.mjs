// A client of a stack for Node: `node call.mjs werift|libdatachannel URL TOKEN`, where its modules are.
// It opens a data channel through a session, and prints the milliseconds until its echo has come.
const [stack, url, token] = process.argv.slice(2);
const module = { werift: "werift", libdatachannel: "node-datachannel/polyfill" }[stack];
const { RTCPeerConnection } = await import(module);

const began = performance.now();
setTimeout(() => process.exit(2), 25000);
const connection = new RTCPeerConnection({ iceServers: [], bundlePolicy: "max-bundle" });
const channel = connection.createDataChannel("echo");
await connection.setLocalDescription(await connection.createOffer());
const response = await fetch(url, {
  method: "POST",
  headers: { "Content-Type": "application/sdp", Authorization: `Bearer ${token}` },
  body: connection.localDescription.sdp,
});
const answer = await response.text();
if (response.status !== 201) {
  console.log(response.status, answer);
  process.exit(1);
}
channel.onopen = () => channel.send("hello");
channel.onmessage = ({ data }) => {
  if (data.toString() !== "hello") process.exit(3);
  console.log(Math.round(performance.now() - began));
  process.exit(0);
};
await connection.setRemoteDescription({ type: "answer", sdp: answer });
