'use strict';

// Lists the operations of openapi.json and sends requests to this server. Everything that comes from the server is put
// into the page as text, never as markup. The API key lives in its input field only.

const METHODS = ['get', 'post', 'put', 'delete'];

const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

const resolve = (spec, thing) => {
  if (!thing || !thing.$ref) return thing;
  return thing.$ref.slice(2).split('/').reduce((at, part) => at && at[part], spec);
};

const exampleOf = (content) => {
  if (content.example !== undefined) return { example: content.example };
  const examples = {};
  for (const [name, example] of Object.entries(content.examples || {})) examples[name] = example.value;
  return Object.keys(examples).length ? examples : { body: {} };
};

const show = (spec, method, path, operation) => {
  const place = window.document.getElementById('operation');
  const form = element('form');
  const inputs = [];
  for (const reference of operation.parameters || []) {
    const parameter = resolve(spec, reference);
    const input = element('input', { name: parameter.name, autocomplete: 'off', spellcheck: false });
    input.required = parameter.in === 'path';
    if (parameter.name === 'Idempotency-Key') input.value = crypto.randomUUID();
    const title = `${parameter.name} (${parameter.in}${parameter.required ? ', required' : ''}): ${parameter.description || ''}`;
    form.append(element('label', {}, title, input));
    inputs.push({ parameter, input });
  }

  let body = null;
  const request = resolve(spec, operation.requestBody);
  if (request) {
    const examples = exampleOf(request.content['application/json']);
    body = element('textarea', { spellcheck: false });
    const fill = (name) => { body.value = JSON.stringify(examples[name], null, 2); };
    const names = Object.keys(examples);
    fill(names[0]);
    if (names.length > 1) {
      const choice = element('select', { onchange: () => fill(choice.value) },
        ...names.map((name) => element('option', { value: name }, name)));
      form.append(element('label', {}, 'Example ', choice));
    }
    form.append(element('label', {}, 'Body (JSON)', body));
  }

  const answer = element('div');
  form.append(element('button', { className: 'send', type: 'submit' }, 'Send'));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    send(method, path, inputs, body && body.value, answer);
  });

  const scopes = (operation.security || []).flatMap((requirement) => Object.values(requirement)).map((all) => all.join(' and '));
  const needs = scopes.length && scopes[0] ? `Needs the scope ${scopes.join(' or ')}.` : 'Needs no API key.';
  const answers = Object.entries(operation.responses)
    .map(([status, response]) => `${status}  ${resolve(spec, response).description}`).join('\n');
  place.replaceChildren(
    element('h2', {}, element('span', { className: 'method' }, method.toUpperCase()), element('code', {}, path)),
    element('p', {}, operation.summary || ''),
    element('p', {}, operation.description || ''),
    element('p', {}, needs),
    form,
    answer,
    element('h3', {}, 'Answers'),
    element('pre', {}, answers),
  );
};

const send = async (method, path, inputs, body, answer) => {
  const headers = {};
  const query = new URLSearchParams();
  let target = path;
  for (const { parameter, input } of inputs) {
    if (input.value === '') continue;
    if (parameter.in === 'path') target = target.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    if (parameter.in === 'query') query.append(parameter.name, input.value);
    if (parameter.in === 'header') headers[parameter.name] = input.value;
  }
  const token = window.document.getElementById('token').value.trim();
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== null) headers['Content-Type'] = 'application/json';
  if (query.size) target += `?${query}`;

  const status = element('p', { className: 'status' }, 'Sending…');
  answer.replaceChildren(status);
  try {
    const started = performance.now();
    const options = { method: method.toUpperCase(), headers, credentials: 'omit', redirect: 'error', cache: 'no-store' };
    if (body !== null) options.body = body;
    const response = await fetch(target, options);
    const text = await response.text();
    status.textContent = `${response.status} ${response.statusText} in ${Math.round(performance.now() - started)} ms`;
    status.classList.toggle('bad', !response.ok);
    const lines = [...response.headers].map(([name, value]) => `${name}: ${value}`).join('\n');
    answer.append(element('pre', {}, lines), element('pre', {}, pretty(text)));
  } catch (error) {
    status.textContent = `No answer: ${error.message}`;
    status.classList.add('bad');
  }
};

const pretty = (text) => {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
};

const start = async () => {
  const list = window.document.getElementById('operations');
  let spec;
  try {
    spec = await (await fetch('/v1/openapi.json')).json();
  } catch (error) {
    list.append(`openapi.json cannot be read: ${error.message}`);
    return;
  }
  const groups = new Map((spec.tags || []).map((tag) => [tag.name, []]));
  for (const [path, item] of Object.entries(spec.paths)) {
    for (const method of METHODS) {
      const operation = item[method];
      if (!operation) continue;
      const tag = (operation.tags || ['other'])[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push({ method, path, operation });
    }
  }
  for (const [tag, operations] of groups) {
    if (!operations.length) continue;
    list.append(element('h2', {}, tag));
    for (const { method, path, operation } of operations) {
      const button = element('button', { type: 'button' },
        element('span', { className: 'method' }, method.toUpperCase()), element('code', {}, path));
      button.addEventListener('click', () => {
        for (const other of list.querySelectorAll('[aria-current]')) other.removeAttribute('aria-current');
        button.setAttribute('aria-current', 'true');
        show(spec, method, path, operation);
      });
      list.append(button);
    }
  }
};

start();
