interface Ordered {
  readonly order: string;
}

interface Source<Item> {
  next: Item;
  readonly items: AsyncIterator<Item>;
}

/**
 * Merges sorted sources.
 * @returns groups of the items with equal `order`, sorted
 */
export async function* merged<Item extends Ordered>(sources: readonly AsyncIterator<Item>[]): AsyncGenerator<Item[]> {
  const heap: Source<Item>[] = [];
  for (const items of sources) {
    const first = await items.next();
    if (first.done === true) continue;
    heap.push({ next: first.value, items });
    rise(heap, heap.length - 1);
  }
  let group: Item[] = [];
  for (let top = heap[0]; top !== undefined; top = heap[0]) {
    if (group[0] !== undefined && group[0].order !== top.next.order) {
      yield group;
      group = [];
    }
    group.push(top.next);
    const following = await top.items.next();
    if (following.done !== true) top.next = following.value;
    else {
      const last = heap.pop();
      if (last !== undefined && last !== top) heap[0] = last;
    }
    sink(heap);
  }
  if (group.length > 0) yield group;
}

function isBefore<Item extends Ordered>(heap: readonly Source<Item>[], one: number, other: number): boolean {
  const [first, second] = [heap[one], heap[other]];
  return first !== undefined && (second === undefined || first.next.order < second.next.order);
}

function swap<Item>(heap: Source<Item>[], one: number, other: number): void {
  const [first, second] = [heap[one], heap[other]];
  if (first === undefined || second === undefined) return;
  heap[one] = second;
  heap[other] = first;
}

function rise<Item extends Ordered>(heap: Source<Item>[], from: number): void {
  for (let at = from; at > 0; ) {
    const parent = (at - 1) >> 1;
    if (!isBefore(heap, at, parent)) return;
    swap(heap, at, parent);
    at = parent;
  }
}

function sink<Item extends Ordered>(heap: Source<Item>[]): void {
  for (let at = 0; ; ) {
    const left = 2 * at + 1;
    const least = isBefore(heap, left + 1, left) ? left + 1 : left;
    if (!isBefore(heap, least, at)) return;
    swap(heap, at, least);
    at = least;
  }
}
