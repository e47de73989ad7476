import { describe, expect, test } from 'vitest';
import type { InstallStep } from '../../api';
import { arrivals, checklist, hint } from './steps';

const step = (name: InstallStep['step'], more: Partial<InstallStep> = {}): InstallStep => ({ step: name, at: '2026-01-01T00:00:00Z', ...more });
const states = (steps: InstallStep[]) => checklist(steps).map((line) => `${line.name} ${line.state}`);

describe('checklist', () => {
  test('waits for the script first', () => {
    expect(states([])).toEqual(['script_read now', 'binary_read later', 'enrolled later', 'online later']);
  });
  test('says who read it', () => {
    expect(checklist([step('script_read', { address: '203.0.113.7', program: 'curl/8.14.1' })])[0]!.text).toBe('Script read from 203.0.113.7 (curl 8.14.1)');
  });
  test('takes a skipped step as done: a machine that has the program downloads nothing', () => {
    expect(states([step('script_read'), step('enrolled')])).toEqual(['script_read done', 'binary_read done', 'enrolled done', 'online now']);
  });
  test('waits for nobody once the code has expired, but for a device that registered in time', () => {
    expect(checklist([step('script_read')], 'agent', true).map((line) => line.state)).toEqual(['done', 'later', 'later', 'later']);
    expect(checklist([step('enrolled')], 'agent', true).map((line) => line.state)).toEqual(['done', 'done', 'done', 'now']);
  });
  test('says in the past what was skipped', () => {
    expect(checklist([step('pending')]).slice(0, 3).map((line) => line.text)).toEqual(['Script read', 'Program downloaded', 'Registered']);
  });
  test('stands still at the approval until a person gives it', () => {
    const steps = [step('script_read'), step('enrolled'), step('pending')];
    expect(states(steps).slice(3)).toEqual(['pending now', 'online later']);
    expect(states([...steps, step('online')]).slice(3)).toEqual(['pending done', 'online done']);
  });
  test('has no program to wait for without the agent', () => {
    const steps = [step('script_read'), step('enrolled'), step('pending')];
    expect(checklist(steps.slice(0, 1), 'openssh').map((line) => `${line.name} ${line.state}`)).toEqual(['script_read done', 'enrolled now', 'online later']);
    expect(checklist(steps, 'openssh').map((line) => line.name)).toEqual(['script_read', 'enrolled', 'pending', 'online']);
  });
  test('shows what a device says as text without tricks', () => {
    expect(checklist([step('enrolled', { device_name: 'a\u202eb' })])[2]!.text).toBe('Registered as ab');
  });
});

test('arrivals gives each device once', () => {
  expect(arrivals([step('script_read'), step('enrolled', { device_id: 'd1' }), step('online', { device_id: 'd1' }), step('enrolled', { device_id: 'd2' })])).toEqual(['d1', 'd2']);
});

test('hint follows the last step, and is silent once online', () => {
  expect(hint(undefined)?.text).toMatch(/Nothing/);
  expect(hint('enrolled')?.command).toBe('adit agent status');
  expect(hint('online')).toBeUndefined();
  expect(hint('script_read', 'openssh')?.command).toMatch(/openssl/);
  expect(hint(undefined, 'openssh')).toEqual(hint(undefined));
});
