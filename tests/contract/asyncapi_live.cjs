// Judges MQTT traffic by the AsyncAPI document alone: its channels name the topics, its messages the payloads.
// node asyncapi_live.cjs NODE_MODULES DOCUMENT < "topic payload" lines; prints {messages, channels, faults} as JSON.
"use strict";
const fs = require("fs");
const [modules, source] = process.argv.slice(2);
const { Parser } = require(`${modules}/@asyncapi/parser`);
const Ajv = require(`${modules}/ajv`).default;

function matcher(address) {
  const parts = address.split("/").map((part) => (/^\{.*\}$/.test(part) ? "[^/]+" : part.replace(/[.*+?^$()|[\]\\]/g, "\\$&")));
  return new RegExp(`^${parts.join("/")}$`);
}

async function main() {
  const { document } = await new Parser().parse(fs.readFileSync(source, "utf8"));
  const ajv = new Ajv({ strict: false, allErrors: false, formats: { "date-time": true, uri: true } });
  const channels = document.channels().all().map((channel) => ({
    id: channel.id(),
    topic: matcher(channel.address()),
    checks: channel.messages().all().map((message) => ajv.compile(message.payload().json())),
  }));
  const seen = new Set(), faults = [];
  let messages = 0;
  for (const line of fs.readFileSync(0, "utf8").split("\n").filter(Boolean)) {
    const gap = line.indexOf(" "), topic = line.slice(0, gap), payload = JSON.parse(line.slice(gap + 1));
    const channel = channels.find((one) => one.topic.test(topic));
    if (!channel) { faults.push(`${topic}: no channel`); continue; }
    seen.add(channel.id);
    for (const message of Array.isArray(payload) ? payload : [payload]) {
      messages += 1;
      if (!channel.checks.some((check) => check(message))) faults.push(`${topic}: ${JSON.stringify(message).slice(0, 300)}`);
    }
  }
  console.log(JSON.stringify({ messages, channels: [...seen].sort(), faults: faults.slice(0, 5) }));
}

main();
