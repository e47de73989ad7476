// The hub's API with the types of handlers/openapi.yaml. Every failure arrives as a Problem.

import createClient, { type FetchResponse } from 'openapi-fetch';
import type { components, paths } from './api.gen';
import { fromReply, Problem } from './problem';

type Schemas = components['schemas'];
export type Device = Schemas['Device'];
export type Facts = Schemas['Facts'];
export type HostKey = Schemas['HostKey'];
export type Service = Schemas['Service'];
export type Me = Schemas['Me'];
export type Token = Schemas['Token'];
export type NewToken = Schemas['NewToken'];
export type InstallCode = Schemas['InstallCode'];
export type InstallCodeRequest = Schemas['InstallCodeRequest'];
export type InstallStep = Schemas['InstallStep'];
export type NewInstallCode = Schemas['NewInstallCode'];
export type CLILoginInfo = Schemas['CLILoginInfo'];
export type Shell = Schemas['Shell'];
export type HubEvent = Schemas['Event'];

export const api = createClient<paths>({ baseUrl: window.location.origin, credentials: 'same-origin' });

/**
 * Unwraps a reply: its data, or a thrown Problem. A fetch that never got an answer is a Problem `unreachable`.
 */
export async function data<T extends Record<string | number, unknown>, O, M extends `${string}/${string}`>(
  reply: Promise<FetchResponse<T, O, M>>,
): Promise<NonNullable<FetchResponse<T, O, M>['data']>> {
  let got: FetchResponse<T, O, M>;
  try {
    got = await reply;
  } catch {
    throw new Problem('unreachable');
  }
  if (!got.response.ok) throw fromReply(got.response.status, got.error);
  return got.data as NonNullable<FetchResponse<T, O, M>['data']>;
}

