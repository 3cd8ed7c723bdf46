// A client of the bytes service (tests/transport/bytes_service.py), by grpc-js.
//
//   node peer.js ADDRESS CASE
//
// It prints what the test compares: the digest of what was read or written, or the status code
// that a call ended with.
"use strict";

const { createHash } = require("node:crypto");
const { once } = require("node:events");
const grpc = require("@grpc/grpc-js");

const PIECE = 2 ** 20;
const PIECES = 64;
const WAIT = 60_000; // milliseconds

const same = (message) => message;
const method = (name, requestStream, responseStream) => ({
  path: `/holdfast.test.Bytes/${name}`,
  requestStream,
  responseStream,
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
});

const Client = grpc.makeGenericClientConstructor(
  {
    echo: method("Echo", false, false),
    read: method("Read", false, true),
    write: method("Write", true, true),
    sleep: method("Sleep", false, true),
  },
  "Bytes",
);

const soon = (milliseconds) => ({ deadline: new Date(Date.now() + milliseconds) });

function echo(client) {
  return new Promise((resolve, reject) => {
    client.echo(Buffer.from("are you there?"), soon(WAIT), (error, reply) =>
      error ? reject(error) : resolve(reply.toString()),
    );
  });
}

async function read(client) {
  const digest = createHash("sha256");
  for await (const message of client.read(Buffer.from(String(PIECES * PIECE)), soon(WAIT))) {
    digest.update(message);
  }
  return digest.digest("hex");
}

async function write(client) {
  const call = client.write(soon(WAIT));
  const reply = once(call, "data");
  for (let number = 0; number < PIECES; number += 1) {
    if (!call.write(Buffer.alloc(PIECE, number))) {
      await once(call, "drain");
    }
  }
  call.end();
  return (await reply)[0].toString();
}

function ended(call) {
  return new Promise((resolve) => {
    call.on("error", (error) => resolve(grpc.status[error.code]));
    call.on("end", () => resolve("OK"));
  });
}

async function cancel(client) {
  const call = client.sleep(Buffer.from("js cancel"), soon(WAIT));
  const code = ended(call);
  await once(call, "data");
  call.cancel();
  return code;
}

// Something else is called before, so that the time to connect isn't part of the deadline.
async function deadline(client) {
  await echo(client);
  const call = client.sleep(Buffer.from("js deadline"), soon(1000));
  call.on("data", () => {});
  return ended(call);
}

async function main([address, name]) {
  const client = new Client(address, grpc.credentials.createInsecure());
  console.log(await { echo, read, write, cancel, deadline }[name](client));
  client.close();
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
