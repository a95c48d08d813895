// The agent protocol, version 1 (docs/agent-protocol.md), in JavaScript: Node 18 or later, and nothing
// else. It shows that the page is enough. Chunks are stamped when the socket gives them, and then
// decoded; events are written when the work is done.

import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import path from "node:path";
import { createInterface } from "node:readline";

const PROTOCOL = 1;
const CLOCKS = 5;
const UNITS = { csv: "rows", json: "values", md: "headings" };
const LISTED_MAX = 20;
const LF = 10;
const CR = 13;

// ------------------------------------------------------------------------------------------ stamps

// Nanoseconds since boot pass 2^53 after a hundred days: they stay BigInt, and are written as numbers.
// The mark that says so is one that no server can know.
const MARK = randomBytes(12).toString("hex");
const MARKED = new RegExp(`"${MARK}(\\d+)"`, "g");
const now = () => process.hrtime.bigint();
const line = (event) =>
  JSON.stringify(event, (_, value) => (typeof value === "bigint" ? MARK + value : value)).replace(MARKED, "$1") + "\n";
const say = (event) => process.stdout.write(line(event));

// ------------------------------------------------------------------------------------------ corpus

function ingest(corpus) {
  const files = [];
  let skipped = 0;
  for (const { path: name, kind } of corpus.files) {
    try {
      const data = readFileSync(path.join(corpus.path, name));
      files.push({ name, kind, bytes: data.length, units: COUNTS[kind](data) });
    } catch {
      skipped += 1;
    }
  }
  return summaryOf(files, skipped);
}

function summaryOf(files, skipped) {
  const sum = (some, field) => some.reduce((total, file) => total + file[field], 0);
  const lines = [`files read: ${files.length}, skipped: ${skipped}, bytes: ${sum(files, "bytes")}`];
  for (const [kind, unit] of Object.entries(UNITS)) {
    const some = files.filter((file) => file.kind === kind);
    if (some.length) {
      lines.push(`${kind}: ${some.length} files, ${sum(some, "units")} ${unit}, ${sum(some, "bytes")} bytes`);
    }
  }
  for (const file of files.slice(0, LISTED_MAX)) {
    lines.push(`- ${file.name}: ${file.bytes} bytes, ${file.units} ${UNITS[file.kind]}`);
  }
  if (files.length > LISTED_MAX) lines.push(`- and ${files.length - LISTED_MAX} more`);
  return lines.join("\n") + "\n";
}

const COUNTS = {
  csv(data) {
    let lines = 0;
    let blank = true;
    for (const byte of data) {
      if (byte === LF) {
        lines += blank ? 0 : 1;
        blank = true;
      } else if (byte !== 32 && byte !== 9 && byte !== CR && byte !== 12) {
        blank = false;
      }
    }
    return Math.max(0, lines + (blank ? 0 : 1) - 1);
  },
  json(data) {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data);
    const waiting = [JSON.parse(text)];
    let leaves = 0;
    while (waiting.length) {
      const value = waiting.pop();
      if (value === null || typeof value !== "object") leaves += 1;
      else for (const item of Object.values(value)) waiting.push(item);
    }
    return leaves;
  },
  md(data) {
    let headings = data[0] === 35 ? 1 : 0;
    for (let at = data.indexOf("\n#"); at >= 0; at = data.indexOf("\n#", at + 1)) headings += 1;
    return headings;
  },
};

// ----------------------------------------------------------------------------------------- answers

// Bytes → lines, as they come. For SSE a line ends at CR too; the LF of a CRLF may be in the next read.
class Lines {
  constructor(cr) {
    this.cr = cr;
    this.left = [];
    this.afterCr = false;
  }

  *feed(data) {
    let from = 0;
    for (let at = 0; at < data.length; at += 1) {
      const byte = data[at];
      if (byte !== LF && !(this.cr && byte === CR)) {
        this.afterCr = false;
        continue;
      }
      if (byte === LF && this.afterCr) {
        this.afterCr = false;
        from = at + 1;
        continue;
      }
      this.afterCr = this.cr && byte === CR;
      yield this.take(data.subarray(from, at));
      from = at + 1;
    }
    if (from < data.length) this.left.push(Buffer.from(data.subarray(from)));
  }

  take(end) {
    if (!this.left.length) return end;
    this.left.push(end);
    const whole = Buffer.concat(this.left);
    this.left = [];
    return whole;
  }
}

const text = (value) => (typeof value === "string" ? value : "");
const mapping = (value) => (value && typeof value === "object" && !Array.isArray(value) ? value : {});
const some = (value) => Array.isArray(value) && value.length > 0;

class Answer {
  constructor(dialect) {
    this.ollama = dialect === "ollama";
    this.lines = new Lines(!this.ollama);
    this.data = [];
    this.first = true;
    this.texts = [];
    this.server = {};
    this.stamps = [];
    this.ended = false;
    this.closed = false;
    this.status = "ok";
    this.error = null;
    this.httpStatus = null;
    this.sent = this.end = now();
  }

  feed(data, at) {
    for (const one of this.lines.feed(data)) this.line(one, at);
  }

  whole(at) {
    this.line(this.lines.take(Buffer.alloc(0)), at);
    if (!this.ollama) this.line(Buffer.alloc(0), at);
    if (this.error === null && !this.ended) this.fail("truncated", "truncated", "the stream has no proper end");
    this.end = at;
  }

  fail(status, code, message) {
    if (this.error !== null) return;
    this.status = status;
    this.error = { code, message: message.slice(0, 300) };
    this.end = now();
  }

  line(bytes, at) {
    if (this.error !== null) return;
    const string = bytes.toString("utf8");
    if (this.ollama) {
      if (string.trim()) this.payload(string, at);
      return;
    }
    const line = this.first && string.startsWith("\ufeff") ? string.slice(1) : string;
    this.first = false;
    if (!line) {
      const event = this.data.join("\n");
      this.data = [];
      if (event.trim() === "[DONE]") this.ended = this.closed = true;
      else if (event.trim()) this.payload(event, at);
    } else if (line === "data" || line.startsWith("data:")) {
      const value = line.slice(5);
      this.data.push(value.startsWith(" ") ? value.slice(1) : value);
    }
  }

  payload(string, at) {
    let chunk = null;
    try {
      chunk = JSON.parse(string);
    } catch {
      // said below
    }
    if (chunk === null || typeof chunk !== "object" || Array.isArray(chunk)) {
      this.fail("error", "protocol", "not JSON");
      return;
    }
    if (this.ollama ? this.readOllama(chunk) : this.readOpenAI(chunk)) this.stamps.push(at);
    if (chunk.error !== undefined && chunk.error !== null) {
      const { error } = chunk;
      const said = typeof error === "object" ? error.message : error;
      this.fail("error", "stream", typeof said === "string" ? said : JSON.stringify(error));
    }
  }

  readOllama(chunk) {
    const { message, response, thinking, context, ...server } = chunk;
    const said = mapping(message);
    this.server = server;
    if (chunk.done === true) this.ended = this.closed = true;
    const answer = text(said.content) + text(response);
    if (answer) this.texts.push(answer);
    return Boolean(answer || text(said.thinking) || text(thinking) || some(said.tool_calls));
  }

  readOpenAI(chunk) {
    for (const name of ["usage", "timings"]) {
      if (chunk[name] !== undefined && chunk[name] !== null) this.server[name] = chunk[name];
    }
    const choice = mapping(some(chunk.choices) ? chunk.choices[0] : null);
    if (choice.finish_reason !== undefined && choice.finish_reason !== null) {
      this.server.finish_reason = choice.finish_reason;
      this.ended = true;
    }
    const delta = mapping(choice.delta);
    const answer = text(delta.content) + text(choice.text);
    if (answer) this.texts.push(answer);
    return Boolean(answer || text(delta.reasoning_content) || text(delta.reasoning) || some(delta.tool_calls));
  }

  events(call, stage, job) {
    const { stamps } = this;
    const told = [{ t: "call_sent", call, stage, at_ns: this.sent }];
    if (stamps.length) {
      told.push({ t: "call_first_token", call, at_ns: stamps[0] });
      told.push({ t: "call_last_token", call, at_ns: stamps[stamps.length - 1] });
    }
    told.push({
      t: "call_end",
      call,
      at_ns: this.end,
      status: this.status,
      http_status: this.httpStatus,
      content_chunks: stamps.length,
      server: this.server,
      ...(job.keep_text ? { text: this.texts.join("") } : {}),
      ...(job.chunk_stamps ? { chunk_ns: stamps } : {}),
      ...(this.error ? { error: this.error } : {}),
    });
    return told;
  }
}

// -------------------------------------------------------------------------------------------- work

class Work {
  constructor(job) {
    this.job = job;
    this.events = [];
    this.open = new Map();
    this.phases = [];
    this.failed = false;
    this.over = false;
    this.summary = "";
    const secure = job.endpoint.url.startsWith("https:");
    this.request = secure ? https.request : http.request;
    const Agent = secure ? https.Agent : http.Agent;
    this.agents = Array.from({ length: job.streams }, () => new Agent({ keepAlive: true, maxSockets: 1 }));
  }

  async run(start) {
    // A timer may be early or late by a millisecond; the last of them is waited for awake.
    const left = Number(start - now()) / 1e6;
    if (left > 2) await new Promise((resolve) => setTimeout(resolve, left - 2));
    while (now() < start);
    this.events.push({ t: "begin", at_ns: now() });
    if (this.job.corpus) {
      this.phase("phase_start", "ingest");
      this.summary = ingest(this.job.corpus);
      this.phase("phase_end", "ingest");
    }
    await Promise.all(this.agents.map((_, number) => this.stream(number)));
    this.finish();
  }

  phase(t, name) {
    this.events.push({ t, name, at_ns: now() });
    this.phases = t === "phase_start" ? [name] : [];
  }

  async stream(number) {
    const texts = new Map();
    const alone = this.job.streams === 1;
    for (const stage of this.job.stages) {
      if (alone) this.phase("phase_start", stage.name);
      const answer = await this.call(number, stage, texts);
      if (this.over) return;
      if (alone) this.phase("phase_end", stage.name);
      texts.set(stage.name, answer.texts.join(""));
      if (answer.status !== "ok") {
        this.failed = true;
        return;
      }
    }
  }

  async call(number, stage, texts) {
    const name = `${this.job.agent}.${number}.${stage.name}`;
    const body = structuredClone(stage.body);
    const place = [...stage.prompt_at];
    const last = place.pop();
    place.reduce((value, step) => value[step], body)[last] = this.filled(stage, number, texts);
    const answer = new Answer(this.job.endpoint.dialect);
    this.open.set(name, { answer, stage });
    await this.exchange(number, stage, name, Buffer.from(JSON.stringify(body)), answer);
    if (!this.over) {
      this.open.delete(name);
      this.events.push(...answer.events(name, stage.name, this.job));
    }
    return answer;
  }

  // Resolves whatever happens: a failure is a value.
  exchange(number, stage, name, body, answer) {
    return new Promise((resolve) => {
      const { endpoint } = this.job;
      const headers = { "Content-Type": "application/json", "X-Request-ID": name, "Content-Length": body.length };
      for (const [key, value] of endpoint.headers) headers[key] = value;
      const request = this.request(endpoint.url + stage.path, {
        method: "POST",
        agent: this.agents[number],
        headers,
      });
      const timer = setTimeout(() => {
        answer.fail("timeout", "timeout", `not over after ${stage.timeout_s} s`);
        request.destroy();
      }, stage.timeout_s * 1000);
      const done = () => {
        clearTimeout(timer);
        resolve();
      };
      const send = () => {
        answer.sent = now();
        request.end(body);
      };
      request.on("socket", (socket) => {
        socket.setNoDelay(true);
        if (socket.connecting) socket.once(endpoint.url.startsWith("https:") ? "secureConnect" : "connect", send);
        else send();
      });
      request.on("error", (error) => {
        this.torn(answer, error);
        done();
      });
      request.on("response", (response) => {
        answer.httpStatus = response.statusCode;
        const ok = response.statusCode >= 200 && response.statusCode < 300;
        const said = [];
        response.on("data", (data) => {
          const at = now();
          if (ok) answer.feed(data, at);
          else said.push(data);
          if (ok && answer.error) request.destroy();
        });
        response.on("end", () => {
          if (!ok) answer.fail("error", `http.${response.statusCode}`, Buffer.concat(said).toString("utf8"));
          else answer.whole(now());
        });
        response.on("error", (error) => this.torn(answer, error));
        response.on("close", done);
      });
    });
  }

  torn(answer, error) {
    if (answer.closed && answer.error === null) answer.whole(now());
    else if (answer.httpStatus === null) {
      const connecting = error.syscall === "connect" || error.code === "ENOTFOUND";
      answer.fail("error", connecting ? "connect" : "reset", error.message || String(error.code));
    } else answer.fail("truncated", "truncated", error.message || String(error.code));
  }

  filled(stage, number, texts) {
    return stage.prompt.replace(/\{\{(stream|data_summary|answer:([^{}]*))\}\}/g, (found, name, answer) => {
      if (name === "stream") return String(number);
      if (name === "data_summary") return this.summary;
      if (!texts.has(answer)) return found;
      return Array.from(texts.get(answer)).slice(0, stage.answer_chars_max).join("");
    });
  }

  // SIGTERM: what is open ends with what it has.
  interrupted() {
    this.over = this.failed = true;
    for (const [name, { answer, stage }] of this.open) {
      answer.fail("cancelled", "cancelled", "interrupted");
      this.events.push(...answer.events(name, stage.name, this.job));
    }
    for (const name of this.phases) this.events.push({ t: "phase_end", name, at_ns: now() });
    this.finish();
  }

  finish() {
    const at_ns = now();
    const data = this.job.corpus ? { summary_sha256: createHash("sha256").update(this.summary).digest("hex") } : {};
    this.events.push({ t: "result", at_ns, status: this.failed ? "error" : "ok", data });
    process.stdout.write(this.events.map(line).join(""), () => process.exit(this.failed ? 1 : 0));
  }
}

// ---------------------------------------------------------------------------------------- greeting

let work = null;
let started = false;
const input = createInterface({ input: process.stdin, crlfDelay: Infinity });
input.on("line", (string) => {
  // A stamp has more digits than a number holds after a hundred days of uptime.
  const start = /"t":\s*"start"/.test(string) ? /"at_ns":\s*(\d+)/.exec(string) : null;
  if (start) {
    started = true;
    process.on("SIGTERM", () => work.interrupted());
    work.run(BigInt(start[1]));
    return;
  }
  const message = JSON.parse(string);
  if (work === null) {
    if (message.protocol !== PROTOCOL) {
      process.stdout.write(line({ t: "error", message: `this agent speaks protocol ${PROTOCOL}, and no other` }), () =>
        process.exit(2),
      );
      return;
    }
    work = new Work(message);
    say({
      t: "hello",
      protocol: PROTOCOL,
      name: "node",
      version: "1.0",
      language: "JavaScript",
      runtime: `node ${process.versions.node}`,
      about: { v8: process.versions.v8, uv: process.versions.uv, llhttp: process.versions.llhttp },
    });
  } else if (message.t === "clock") {
    say({ t: "clock", n: message.n, at_ns: now() });
    if (message.n === CLOCKS - 1) say({ t: "ready" });
  }
});
input.on("close", () => {
  if (!started) process.exit(1); // nobody is there any more
});
