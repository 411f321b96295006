// What a page does in a call: offer to a session, echo a message, measure what comes back.
(() => {
  const until = async (condition, what, within = 10000) => {
    const deadline = performance.now() + within;
    for (;;) {
      const value = await condition();
      if (value) return value;
      if (performance.now() > deadline) throw new Error(`not within ${within} ms: ${what}`);
      await new Promise((done) => setTimeout(done, 20));
    }
  };

  const stats = async (connection) => [...(await connection.getStats()).values()];

  // Opens a session at `url`; the call is kept as window.call.
  window.open_call = async (url, headers, { audio = false, video = false, policy = "all", servers = [] } = {}) => {
    const began = performance.now();
    const connection = new RTCPeerConnection({
      bundlePolicy: "max-bundle", iceTransportPolicy: policy, iceServers: servers,
    });
    const channel = connection.createDataChannel("echo");
    const messages = [];
    channel.onmessage = (event) => messages.push(event.data);
    if (audio || video) {
      const media = await navigator.mediaDevices.getUserMedia({ audio, video });
      media.getTracks().forEach((track) => connection.addTrack(track, media));
      connection.ontrack = (event) => {
        const player = document.createElement(event.track.kind);
        player.srcObject = event.streams[0];
        player.play();
      };
    }
    await connection.setLocalDescription(await connection.createOffer());
    const response = await fetch(url, {
      method: "POST",
      headers: { ...headers, "Content-Type": "application/sdp" },
      body: connection.localDescription.sdp,
    });
    const answer = await response.text();
    if (response.status !== 201) throw new Error(`${response.status} ${answer}`);
    await connection.setRemoteDescription({ type: "answer", sdp: answer });
    window.call = {
      connection, channel, messages, answer, headers,
      location: new URL(response.headers.get("Location"), url).href,
      route: JSON.parse(response.headers.get("Firsthop-Route")),
    };
    await until(() => connection.connectionState === "connected", "connected");
    await until(() => channel.readyState === "open", "the channel is open");
    return { answer, location: window.call.location, route: window.call.route,
             etag: response.headers.get("ETag"), connected_ms: performance.now() - began };
  };

  // The round trip of one message, in milliseconds.
  window.echo = async (text, within) => {
    const { channel, messages } = window.call;
    const began = performance.now();
    channel.send(text);
    await until(() => messages.includes(text), `the echo of ${text}`, within);
    return performance.now() - began;
  };

  // Energy and packets of the audio that came back, once there is some.
  window.heard = async () => until(async () => {
    const found = (await stats(window.call.connection)).find(
      (each) => each.type === "inbound-rtp" && each.kind === "audio");
    return found && found.totalAudioEnergy > 0 && found.packetsReceived > 20 &&
      { energy: found.totalAudioEnergy, packets: found.packetsReceived };
  }, "audio with energy");

  // Frames of the video that came back and were decoded.
  window.pictures = async () => {
    const found = (await stats(window.call.connection)).find(
      (each) => each.type === "inbound-rtp" && each.kind === "video");
    return found ? found.framesDecoded : 0;
  };

  // The milliseconds until `more` further pictures have come back.
  window.more_pictures = async (more, within) => {
    const [began, before] = [performance.now(), await pictures()];
    await until(async () => await pictures() >= before + more, "the picture", within);
    return performance.now() - began;
  };

  // Candidate pairs that checks or media went over: the remote ends as ADDRESS:PORT.
  window.remote_ends = async () => {
    const all = await stats(window.call.connection);
    const remotes = new Map(all.filter((each) => each.type === "remote-candidate")
      .map((each) => [each.id, `${each.address}:${each.port}`]));
    return [...new Set(all.filter((each) => each.type === "candidate-pair" &&
      each.requestsSent + each.bytesSent > 0).map((each) => remotes.get(each.remoteCandidateId)))];
  };

  // The remote end of the pair that media go over.
  window.selected_end = async () => {
    const all = new Map((await stats(window.call.connection)).map((each) => [each.id, each]));
    const transport = [...all.values()].find((each) => each.type === "transport");
    const remote = all.get(all.get(transport.selectedCandidatePairId).remoteCandidateId);
    return `${remote.address}:${remote.port}`;
  };

  // Types of the local candidates of those pairs.
  window.local_kinds = async () => {
    const all = await stats(window.call.connection);
    const kinds = new Map(all.filter((each) => each.type === "local-candidate")
      .map((each) => [each.id, each.candidateType]));
    return [...new Set(all.filter((each) => each.type === "candidate-pair" &&
      each.requestsSent + each.bytesSent > 0).map((each) => kinds.get(each.localCandidateId)))];
  };

  // Restarts ICE as RFC 9725 §4.3.3 has it; gives the response's ETag and the new server ufrag.
  window.restart_ice = async () => {
    const { connection, answer, location, headers } = window.call;
    await connection.setLocalDescription(await connection.createOffer({ iceRestart: true }));
    const local = connection.localDescription.sdp;
    const of = (name, sdp) => sdp.match(new RegExp(`a=${name}:(.*)`))[1];
    const response = await fetch(location, {
      method: "PATCH",
      headers: { ...headers, "Content-Type": "application/trickle-ice-sdpfrag", "If-Match": "*" },
      body: ["ice-ufrag", "ice-pwd"].map((name) => `a=${name}:${of(name, local)}\r\n`).join(""),
    });
    const fragment = await response.text();
    if (response.status !== 200) throw new Error(`${response.status} ${fragment}`);
    let renewed = answer;
    for (const name of ["ice-ufrag", "ice-pwd"]) {
      renewed = renewed.replaceAll(`a=${name}:${of(name, answer)}`, `a=${name}:${of(name, fragment)}`);
    }
    window.call.answer = renewed;
    await connection.setRemoteDescription({ type: "answer", sdp: renewed });
    return { etag: response.headers.get("ETag"), ufrag: of("ice-ufrag", fragment), fragment };
  };

  // Follows the audio that comes back, for `largest_gap`: `gap` by its RTP timestamps, `quiet` by
  // the clock, both in seconds.
  window.watch_gaps = () => {
    const receiver = window.call.connection.getReceivers().find((each) => each.track.kind === "audio");
    const watch = window.call.watch = { gap: 0, quiet: 0, last: 0, at: 0, seen: 0 };
    setInterval(() => {
      const [source] = receiver.getSynchronizationSources();
      if (!source || source.rtpTimestamp === watch.last) return;
      const step = (source.rtpTimestamp - watch.last) >>> 0;
      const now = performance.now();
      if (watch.seen++ > 0) {
        if (step < 2 ** 31) watch.gap = Math.max(watch.gap, step / 48000);
        watch.quiet = Math.max(watch.quiet, (now - watch.at) / 1000);
      }
      watch.last = source.rtpTimestamp;
      watch.at = now;
    }, 5);
  };

  // The largest step between two RTP timestamps that were heard one after the other, in seconds,
  // once `more` have been heard from now on.
  window.largest_gap = async (more, within) => {
    const { watch } = window.call;
    const wanted = watch.seen + more;
    await until(() => watch.seen >= wanted, `${more} more packets of audio`, within);
    return watch.gap;
  };

  window.hang_up = async () => {
    const { connection, location, headers } = window.call;
    const response = await fetch(location, { method: "DELETE", headers });
    connection.close();
    return response.status;
  };
})();
