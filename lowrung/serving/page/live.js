// Words while they are said: the microphone's samples go to the service, and what it has heard so far comes back.
const HIGHEST = 48000; // samples a second that the service takes

/** Hear a microphone until the function that this gives is called; `told` gets the text each time it changes. */
export async function live(microphone, model, told) {
  const plain = new AudioContext();
  const context = plain.sampleRate > HIGHEST ? new AudioContext({ sampleRate: HIGHEST }) : plain;
  if (context !== plain) plain.close();
  await context.audioWorklet.addModule("page/samples.js");
  const address = new URL("v1/audio/stream", document.baseURI);
  address.protocol = address.protocol.replace("http", "ws");
  address.search = new URLSearchParams({ model, rate: context.sampleRate });
  const key = sessionStorage.getItem("lowrung-key");
  const socket = new WebSocket(address, ["lowrung", ...(key ? [`key.${key}`] : [])]);
  const samples = new AudioWorkletNode(context, "samples", { channelCount: 1, channelCountMode: "explicit" });
  const early = []; // before the service listens
  const send = (block) => (socket.readyState === WebSocket.OPEN ? socket.send(block) : early.push(block));
  samples.port.onmessage = ({ data }) => { if (socket.readyState <= WebSocket.OPEN) send(data); };
  socket.onopen = () => early.splice(0).forEach((block) => socket.send(block));
  socket.onmessage = ({ data }) => told(JSON.parse(data).text);
  context.createMediaStreamSource(microphone).connect(samples);
  await context.resume();
  return () => {
    if (socket.readyState <= WebSocket.OPEN) send("{}");
    return context.close();
  };
}
