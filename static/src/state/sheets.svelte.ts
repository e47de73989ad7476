// Which sheet (a dialog over any page) is open.

import type { Device } from '../api';

export interface LoginQuestion {
  device: Pick<Device, 'id' | 'name' | 'default_login' | 'logins' | 'via'>;
  answer: (login: string, rescue: boolean) => void;
}

class Sheets {
  open = $state<'none' | 'palette' | 'keys' | 'login'>('none');
  question = $state.raw<LoginQuestion>();

  askLogin(device: LoginQuestion['device'], answer: LoginQuestion['answer']): void {
    this.question = { device, answer };
    this.open = 'login';
  }

  close(): void {
    this.open = 'none';
  }
}

export const sheets = new Sheets();
