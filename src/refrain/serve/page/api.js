// Requests to the server.

/** A request that was not answered: the message is the server's own line. */
export class Refusal extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

// kept in memory alone
let token = "";

/** Send a token with every further request. */
export function setToken(value) {
  token = value;
}

async function answer(path, body, signal) {
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body) headers["Content-Type"] = "application/json";
  let found;
  try {
    found = await fetch(path, { method: body ? "POST" : "GET", headers, signal, body: body && JSON.stringify(body) });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refusal("The server does not answer; start it again, or look whether this machine is connected.", 0);
  }
  if (found.ok) return found;
  const text = await found.text();
  let message = `The server answered with the status ${found.status}.`;
  try {
    message = JSON.parse(text).error.message;
  } catch { /* the answer is not the server's own */ }
  throw new Refusal(message, found.status);
}

/** Call an operation and return its answer: a POST with a body, a GET without one. */
export async function call(path, body, signal) {
  return (await answer(path, body, signal)).json();
}

/** Call an operation that streams: calls `take` with the name and the data of each event. */
export async function stream(path, body, signal, take) {
  const reader = (await answer(path, { ...body, stream: true }, signal)).body.pipeThrough(new TextDecoderStream()).getReader();
  let kept = "";
  let ended = false;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const events = (kept + value).split("\n\n");
    kept = events.pop();
    for (const event of events) {
      const lines = event.split("\n");
      const name = lines.find(line => line.startsWith("event: "))?.slice(7);
      const data = JSON.parse(lines.find(line => line.startsWith("data: ")).slice(6));
      if (name === "error") throw new Refusal(data.error.message, 500);
      ended ||= name === "end";
      take(name, data);
    }
  }
  if (!ended) throw new Refusal("The server stopped before the end of its answer.", 0);
}
