interface Node {
  readonly children: Map<string, Node>;
  /** The whole topic, when it has a retained message. */
  topic: string | undefined;
  /** How many topics there are at and below it. */
  size: number;
}

/** The topics that have a retained message, found by filter without looking at all of them. */
export class RetainedTopics {
  readonly #root: Node = { children: new Map(), topic: undefined, size: 0 };

  get size(): number {
    return this.#root.size;
  }

  has(topic: string): boolean {
    return this.#find(topic)?.topic !== undefined;
  }

  /** How many there are at and below a topic. */
  sizeBelow(topic: string): number {
    return this.#find(topic)?.size ?? 0;
  }

  add(topic: string): void {
    const path = [this.#root];
    let node = this.#root;
    for (const level of topic.split("/")) {
      let child = node.children.get(level);
      if (child === undefined) {
        child = { children: new Map(), topic: undefined, size: 0 };
        node.children.set(level, child);
      }
      node = child;
      path.push(node);
    }
    if (node.topic === undefined) for (const passed of path) passed.size++;
    node.topic = topic;
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
    for (const passed of path) passed.size--;
    const empty = path.findIndex(({ size }, depth) => depth > 0 && size === 0);
    if (empty > 0) path[empty - 1]?.children.delete(levels[empty - 1] ?? "");
  }

  /** The topics that the filter matches, by the rules of MQTT 3.1.1 section 4.7. */
  match(filter: string): string[] {
    const found: string[] = [];
    collect(this.#root, filter.split("/"), 0, found);
    return found;
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
