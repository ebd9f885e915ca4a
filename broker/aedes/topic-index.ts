interface Node<Value> {
  readonly children: Map<string, Node<Value>>;
  values: Value[];
}

/** Topic filters with values. Matches topics by the rules of MQTT 3.1.1, section 4.7. */
export class TopicIndex<Value> {
  readonly #root: Node<Value> = { children: new Map(), values: [] };

  /** A value that is added twice for a filter is stored twice. */
  add(filter: string, value: Value): void {
    let node = this.#root;
    for (const level of filter.split("/")) {
      let child = node.children.get(level);
      if (child === undefined) {
        child = { children: new Map(), values: [] };
        node.children.set(level, child);
      }
      node = child;
    }
    // A new array, so that the result of a `match` in progress does not change.
    node.values = [...node.values, value];
  }

  /** Removes at most one occurrence. */
  remove(filter: string, value: Value): void {
    const levels = filter.split("/");
    const path = [this.#root];
    for (const level of levels) {
      const child = path.at(-1)?.children.get(level);
      if (child === undefined) return;
      path.push(child);
    }
    const leaf = path.at(-1);
    const index = leaf?.values.indexOf(value) ?? -1;
    if (leaf === undefined || index < 0) return;
    leaf.values = leaf.values.toSpliced(index, 1);
    for (let depth = levels.length; depth > 0; depth--) {
      const node = path[depth];
      const level = levels[depth - 1];
      if (node === undefined || level === undefined || node.values.length > 0 || node.children.size > 0) return;
      path[depth - 1]?.children.delete(level);
    }
  }

  match(topic: string): Value[] {
    const found: Value[] = [];
    const levels = topic.split("/");
    // A leading wildcard does not match a topic that begins with '$' [MQTT-4.7.2-1].
    collect(this.#root, levels, 0, topic.startsWith("$"), found);
    return found;
  }
}

function collect<Value>(node: Node<Value>, levels: string[], depth: number, literal: boolean, found: Value[]): void {
  const level = levels[depth];
  if (!literal) {
    // '#' also matches the parent level: `a/#` matches `a` [MQTT-4.7.1-2].
    const rest = node.children.get("#");
    if (rest !== undefined) for (const value of rest.values) found.push(value);
  }
  if (level === undefined) {
    for (const value of node.values) found.push(value);
    return;
  }
  const exact = node.children.get(level);
  if (exact !== undefined) collect(exact, levels, depth + 1, false, found);
  if (literal) return;
  const one = node.children.get("+");
  if (one !== undefined) collect(one, levels, depth + 1, false, found);
}
