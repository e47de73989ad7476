// Short messages at the foot of the page. They wait while a person is on them.

export interface Toast {
  id: number;
  text: string;
  kind: 'done' | 'failed';
  action?: { label: string; run: () => void } | undefined;
}

class Toasts {
  list = $state.raw<Toast[]>([]);
  private next = 1;

  show(text: string, kind: Toast['kind'] = 'done', action?: Toast['action']): void {
    this.list = [...this.list.slice(-2), { id: this.next++, text, kind, action }];
  }

  drop(id: number): void {
    this.list = this.list.filter((toast) => toast.id !== id);
  }
}

export const toasts = new Toasts();
