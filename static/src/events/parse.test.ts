import { describe, expect, test } from 'vitest';
import { Parser } from './parse';

const stream = 'id: 7\nevent: device.online\ndata: {"a":1}\n\n: ping\n\ndata: two\ndata: lines\n\n';
const messages = [
  { id: '7', event: 'device.online', data: '{"a":1}' },
  { id: '7', event: 'message', data: 'two\nlines' },
];

describe('Parser', () => {
  test('reads a stream in one piece', () => {
    expect(new Parser().push(stream)).toEqual(messages);
  });

  test('reads it cut at every byte', () => {
    for (let cut = 0; cut <= stream.length; cut++) {
      const parser = new Parser();
      expect([...parser.push(stream.slice(0, cut)), ...parser.push(stream.slice(cut))]).toEqual(messages);
    }
  });

  test('takes every line ending, also when CR and LF come apart', () => {
    const parser = new Parser();
    expect(parser.push('data: x\r')).toEqual([]);
    expect(parser.push('\n\r\n')).toEqual([{ id: '', event: 'message', data: 'x' }]);
  });

  test('gives nothing for comments and empty messages', () => {
    expect(new Parser().push(': ping\n\nevent: x\n\n')).toEqual([]);
  });
});
