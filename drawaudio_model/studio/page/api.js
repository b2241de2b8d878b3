// Requests to the studio's server. Whatever goes wrong comes back as one sentence.

export class Problem extends Error {
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

export async function ask(method, path, { body, headers = {}, keepalive = false } = {}) {
  const options = { method, headers: { ...headers }, keepalive };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers['content-type'] = 'application/json';
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Problem('The studio does not answer; was it ended in the terminal? What was saved is safe.', 0);
  }
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    throw new Problem(told.error ?? `The studio answered with ${answer.status}.`, answer.status);
  }
  return answer;
}

export const getJson = async (path) => (await ask('GET', path)).json();
export const sendJson = async (method, path, body) => {
  const answer = await ask(method, path, { body });
  return answer.status === 204 ? null : answer.json();
};

// Copies a file to the server; `tell` gets the share that has arrived.
export function upload(file, tell) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('PUT', `/api/uploads?name=${encodeURIComponent(file.name)}`);
    request.upload.onprogress = (event) => tell(event.loaded / Math.max(event.total, 1));
    request.onerror = () => reject(new Problem('The copy was broken off.', 0));
    request.onload = () => {
      let told = {};
      try { told = JSON.parse(request.responseText); } catch { /* no words came back */ }
      if (request.status === 201) resolve(told);
      else reject(new Problem(told.error ?? `The studio answered with ${request.status}.`, request.status));
    };
    request.send(file);
  });
}
