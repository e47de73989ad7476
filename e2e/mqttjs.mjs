// MQTT.js for the end-to-end tests. The argument is JSON: {url, username, password, version, id, do}. do is {say: [message]},
// which publishes and ends, or {hear: {filter, qos, will}}, which prints "subscribed" and then a line for each message.
// With keep in hear the session and the process outlive lost connections; and so with {stream: {topic, qos, window}}, which
// publishes a number for each line of standard input, that many at once, prints each that was acknowledged, and ends when
// standard input does.

import mqtt from 'mqtt';

const { url, username, password, version, id, do: what } = JSON.parse(process.argv[2]);
const keep = what.hear?.keep ?? what.stream !== undefined;

const client = mqtt.connect(url, {
  username,
  password,
  clientId: id,
  protocolVersion: version,
  protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
  clean: !keep,
  reconnectPeriod: keep ? 300 : 0,
  properties: keep && version === 5 ? { sessionExpiryInterval: 3600 } : undefined,
  will: what.hear?.will ? { topic: what.hear.will, payload: 'gone', qos: 1 } : undefined,
});

client.on('error', (error) => {
  console.error(String(error));
  if (!keep) process.exit(1);
});
client.on('message', (topic, payload, { qos, retain }) => console.log(topic, qos, retain ? 1 : 0, payload.toString()));

await new Promise((connected) => client.once('connect', connected));
if (what.hear) {
  const [granted] = await client.subscribeAsync(what.hear.filter, { qos: what.hear.qos });
  if (granted.qos > 2) throw new Error(`refused: ${granted.qos}`);
  console.log('subscribed');
} else if (what.stream) {
  const { topic, qos, window } = what.stream;
  let next = 0;
  let permits = 0;
  let streaming = true;
  const waiting = [];
  const permit = () => new Promise((resolve) => { waiting.push(resolve); admit(); });
  const admit = () => {
    while (waiting.length && !streaming) waiting.shift()(false);
    for (; waiting.length && permits > 0; permits--) waiting.shift()(true);
  };
  process.stdin.setEncoding('utf8');
  process.stdin.on('data', (lines) => { permits += lines.length; admit(); });
  process.stdin.on('end', () => { streaming = false; admit(); });
  await Promise.all(Array.from({ length: window }, async () => {
    while (await permit()) {
      const number = `${version}-${next++}`;
      await client.publishAsync(topic, number, { qos }).catch((error) => {
        // To a PUBREL that is repeated, the answer to the first being lost: no error then (MQTT 5.0 §3.7.2.1).
        if (error.code !== 0x92) throw error;
      });
      console.log(number);
    }
  }));
  await client.endAsync();
} else {
  for (const { topic, payload, qos, retain } of what.say) await client.publishAsync(topic, payload, { qos, retain });
  await client.endAsync();
}
