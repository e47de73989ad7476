// The hub's API with the types of handlers/openapi.yaml. Every failure arrives as a Problem.

import type { components, paths } from './api.gen';
import { fromReply, Problem } from './problem';

type Schemas = components['schemas'];
export type Device = Schemas['Device'];
export type Facts = Schemas['Facts'];
export type HostKey = Schemas['HostKey'];
export type Service = Schemas['Service'];
export type Metrics = Schemas['Metrics'];
export type RevealedPassword = Schemas['RevealedPassword'];
export type Me = Schemas['Me'];
export type Token = Schemas['Token'];
export type NewToken = Schemas['NewToken'];
export type TokenScope = Schemas['TokenScope'];
export type InstallCode = Schemas['InstallCode'];
export type InstallCodeRequest = Schemas['InstallCodeRequest'];
export type InstallStep = Schemas['InstallStep'];
export type NewInstallCode = Schemas['NewInstallCode'];
export type CLILoginInfo = Schemas['CLILoginInfo'];
export type Shell = Schemas['Shell'];
export type SSHGate = Schemas['SSHGate'];
export type SSHKey = Schemas['SSHKey'];
export type Stream = Schemas['Stream'];
export type Port = Schemas['Port'];
export type MQTTMessage = Schemas['MQTTMessage'];
export type MQTTFrame = Schemas['MQTTFrame'];
export type MQTTStatus = Schemas['MQTTStatus'];
export type MQTTClient = Schemas['MQTTClient'];
export type MQTTPublish = Schemas['MQTTPublish'];
export type MQTTPublished = Schemas['MQTTPublished'];
export type MQTTRetained = Schemas['MQTTRetained'];
export type MQTTCleared = Schemas['MQTTCleared'];
export type MQTTTemplate = Schemas['MQTTTemplate'];
export type MQTTCredential = Schemas['MQTTCredential'];
export type MQTTCredentialRequest = Schemas['MQTTCredentialRequest'];
export type NewMQTTCredential = Schemas['NewMQTTCredential'];
export type MQTTRule = Schemas['MQTTRule'];
export type MQTTRuleRequest = Schemas['MQTTRuleRequest'];
export type MQTTImported = Schemas['MQTTImported'];
export type DeviceMQTT = Schemas['DeviceMQTT'];
export type AgentMQTTBridge = Schemas['AgentMQTTBridge'];
export type EventType = Schemas['EventType'];
export type HookAction = Schemas['HookAction'];
export type HookAnswer = Schemas['HookAnswer'];
export type HookAttempt = Schemas['HookAttempt'];
export type HookDelivery = Schemas['HookDelivery'];
export type HookDeliveryDetail = Schemas['HookDeliveryDetail'];
export type HookDeliveryState = Schemas['HookDeliveryState'];
export type HookEndpoint = Schemas['HookEndpoint'];
export type HookEndpointChange = Schemas['HookEndpointChange'];
export type HookEndpointRequest = Schemas['HookEndpointRequest'];
export type HookFormat = Schemas['HookFormat'];
export type HookHeader = Schemas['HookHeader'];
export type HookReplay = Schemas['HookReplay'];
export type HookRequest = Schemas['HookRequest'];
export type HookRequestDetail = Schemas['HookRequestDetail'];
export type HookRequestState = Schemas['HookRequestState'];
export type HookSource = Schemas['HookSource'];
export type HookSourceChange = Schemas['HookSourceChange'];
export type HookSourceRequest = Schemas['HookSourceRequest'];
export type HookTransform = Schemas['HookTransform'];
export type HookVerification = Schemas['HookVerification'];
export type AgentMQTTListener = Schemas['AgentMQTTListener'];
export type DeviceCommand = Schemas['DeviceCommand'];
export type NewHookEndpoint = Schemas['NewHookEndpoint'];
export type NewHookSource = Schemas['NewHookSource'];

type Method = 'get' | 'post' | 'put' | 'patch' | 'delete';

/** The paths that have an operation for a method. */
type PathsWith<M extends Method> = { [P in keyof paths]: paths[P] extends { [K in M]: object } ? P : never }[keyof paths];

type Operation<P extends keyof paths, M extends Method> = paths[P] extends { [K in M]: infer O } ? O : never;
type Body<O> = O extends { requestBody: { content: { 'application/json': infer B } } }
  ? { body: B }
  : O extends { requestBody?: infer R } ? OptionalBody<NonNullable<R>> : object;
type OptionalBody<R> = [R] extends [never] ? object : R extends { content: { 'application/json': infer B } } ? { body?: B } : object;
type Path<O> = O extends { parameters: { path: infer X } } ? { path: X } : object;
type Query<O> = O extends { parameters: { query: infer Q } }
  ? { query: Q }
  : O extends { parameters: { query?: infer Q } } ? ([NonNullable<Q>] extends [never] ? object : { query?: NonNullable<Q> }) : object;
type Input<O> = Body<O> & Path<O> & Query<O>;
type Json<R> = R extends { content: { 'application/json': infer T } } ? T : never;
type Output<O> = O extends { responses: infer R } ? Json<R[keyof R & (200 | 201)]> : never;
type Rest<O> = keyof Input<O> extends never ? [] : object extends Input<O> ? [Input<O>?] : [Input<O>];

type Values = Record<string, string | number | boolean | undefined>;

/** Fills in the names of a path and appends the query; what is undefined or empty is left out of it. */
export function urlOf(template: string, { path = {}, query = {} }: { path?: Values; query?: Values }): string {
  const url = template.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(path[name] ?? ''));
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== '') as [string, string][];
  return url + (given.length ? `?${new URLSearchParams(given)}` : '');
}

async function send(method: Method, template: string, input: { path?: Values; query?: Values; body?: unknown } = {}): Promise<unknown> {
  const init: RequestInit = { method: method.toUpperCase(), credentials: 'same-origin', headers: { Accept: 'application/json' } };
  if (input.body !== undefined) {
    init.body = JSON.stringify(input.body);
    init.headers = { ...init.headers, 'Content-Type': 'application/json' };
  }
  const reply = await fetch(urlOf(template, input), init).catch(() => {
    throw new Problem('unreachable');
  });
  const body: unknown = reply.status === 204 ? undefined : await reply.json().catch(() => undefined);
  if (!reply.ok) throw fromReply(reply.status, body);
  return body;
}

function verb<M extends Method>(method: M) {
  return <P extends PathsWith<M>>(path: P, ...input: Rest<Operation<P, M>>) =>
    send(method, path, input[0] as Parameters<typeof send>[2]) as Promise<Output<Operation<P, M>>>;
}

/** One function per method; what it takes and gives follows from the path. A fetch without an answer is `unreachable`. */
export const api = { get: verb('get'), post: verb('post'), put: verb('put'), patch: verb('patch'), delete: verb('delete') };
