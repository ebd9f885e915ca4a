interface Ordered {
  readonly order: string;
}

interface Source<Item> {
  next: Item;
  page: readonly Item[];
  /** The place after `next` in the page. */
  at: number;
  readonly pages: AsyncIterator<readonly Item[]>;
}

/**
 * Merges sorted sources, which come in pages.
 * @returns groups of the items with equal `order`, sorted
 */
export async function* merged<Item extends Ordered>(
  sources: readonly AsyncIterator<readonly Item[]>[],
): AsyncGenerator<Item[]> {
  const heap: Source<Item>[] = [];
  for (const pages of sources) {
    const page = await nextPage(pages);
    if (page?.[0] === undefined) continue;
    heap.push({ next: page[0], page, at: 1, pages });
    rise(heap, heap.length - 1);
  }
  let group: Item[] = [];
  for (let top = heap[0]; top !== undefined; top = heap[0]) {
    if (group[0] !== undefined && group[0].order !== top.next.order) {
      yield group;
      group = [];
    }
    group.push(top.next);
    if (top.at === top.page.length) {
      // Nothing is awaited within a page: there may be millions of items.
      top.page = (await nextPage(top.pages)) ?? [];
      top.at = 0;
    }
    const following = top.page[top.at++];
    if (following !== undefined) top.next = following;
    else {
      const last = heap.pop();
      if (last !== undefined && last !== top) heap[0] = last;
    }
    sink(heap);
  }
  if (group.length > 0) yield group;
}

/** The next page with an item. */
async function nextPage<Item>(pages: AsyncIterator<readonly Item[]>): Promise<readonly Item[] | undefined> {
  for (;;) {
    const page = await pages.next();
    if (page.done === true) return undefined;
    if (page.value.length > 0) return page.value;
  }
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
