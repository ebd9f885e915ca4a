interface Node {
  readonly children: Map<string, Node>;
  /** The full topic when it has a retained message. */
  topic: string | undefined;
  /** Bytes of this topic's message. */
  ownBytes: number;
  /** Retained messages at and below this node of the tree. */
  size: number;
  /** Bytes of the messages at and below this node of the tree. */
  bytes: number;
}

export type RetainedLookup = Pick<
  RetainedTopics,
  "size" | "bytes" | "has" | "sizeBelow" | "bytesBelow" | "bytesOf" | "weigh" | "match"
>;

/** The topics with a retained message, in a tree that finds the matches of a filter without scanning all topics. */
export class RetainedTopics {
  readonly #root = emptyNode();

  get size(): number {
    return this.#root.size;
  }

  get bytes(): number {
    return this.#root.bytes;
  }

  has(topic: string): boolean {
    return this.#find(topic)?.topic !== undefined;
  }

  /** Retained messages at and below the topic. */
  sizeBelow(topic: string): number {
    return this.#find(topic)?.size ?? 0;
  }

  bytesBelow(topic: string): number {
    return this.#find(topic)?.bytes ?? 0;
  }

  bytesOf(topic: string): number {
    return this.#find(topic)?.ownBytes ?? 0;
  }

  /** The number and bytes of the messages that the filter matches. Faster than {@link match}. */
  weigh(filter: string): { messages: number; bytes: number } {
    const weight = { messages: 0, bytes: 0 };
    weigh(this.#root, filter.split("/"), 0, weight);
    return weight;
  }

  /** Adds the topic or replaces its message. */
  add(topic: string, bytes: number): void {
    const path = [this.#root];
    let node = this.#root;
    for (const level of topic.split("/")) {
      let child = node.children.get(level);
      if (child === undefined) {
        child = emptyNode();
        node.children.set(level, child);
      }
      node = child;
      path.push(node);
    }
    const added = bytes - node.ownBytes;
    for (const passed of path) {
      if (node.topic === undefined) passed.size++;
      passed.bytes += added;
    }
    node.topic = topic;
    node.ownBytes = bytes;
  }

  #find(topic: string): Node | undefined {
    let node: Node | undefined = this.#root;
    for (const level of topic.split("/")) node = node?.children.get(level);
    return node;
  }

  remove(topic: string): void {
    const levels = topic.split("/");
    const path = [this.#root];
    for (const level of levels) {
      const child = path.at(-1)?.children.get(level);
      if (child === undefined) return;
      path.push(child);
    }
    const leaf = path.at(-1);
    if (leaf?.topic === undefined) return;
    leaf.topic = undefined;
    for (const passed of path) {
      passed.size--;
      passed.bytes -= leaf.ownBytes;
    }
    leaf.ownBytes = 0;
    const empty = path.findIndex(({ size }, depth) => depth > 0 && size === 0);
    if (empty > 0) path[empty - 1]?.children.delete(levels[empty - 1] ?? "");
  }

  /** By the rules of MQTT 3.1.1, section 4.7. */
  match(filter: string): string[] {
    const found: string[] = [];
    collect(this.#root, filter.split("/"), 0, found);
    return found;
  }
}

function emptyNode(): Node {
  return { children: new Map(), topic: undefined, ownBytes: 0, size: 0, bytes: 0 };
}

function weigh(node: Node, levels: string[], depth: number, weight: { messages: number; bytes: number }): void {
  const level = levels[depth];
  if (level === undefined || level === "#") {
    weight.messages += level === "#" ? node.size : Number(node.topic !== undefined);
    weight.bytes += level === "#" ? node.bytes : node.ownBytes;
  } else if (level === "+") {
    for (const child of node.children.values()) weigh(child, levels, depth + 1, weight);
  } else {
    const child = node.children.get(level);
    if (child !== undefined) weigh(child, levels, depth + 1, weight);
  }
}

function collect(node: Node, levels: readonly string[], depth: number, found: string[]): void {
  const level = levels[depth];
  if (level === undefined) {
    if (node.topic !== undefined) found.push(node.topic);
  } else if (level === "#") {
    collectAll(node, depth === 0, found);
  } else if (level === "+") {
    for (const [name, child] of node.children) {
      // [MQTT-4.7.2-1]
      if (depth > 0 || !name.startsWith("$")) collect(child, levels, depth + 1, found);
    }
  } else {
    const child = node.children.get(level);
    if (child !== undefined) collect(child, levels, depth + 1, found);
  }
}

function collectAll(node: Node, atTop: boolean, found: string[]): void {
  if (node.topic !== undefined) found.push(node.topic);
  for (const [name, child] of node.children) {
    if (!atTop || !name.startsWith("$")) collectAll(child, false, found);
  }
}
