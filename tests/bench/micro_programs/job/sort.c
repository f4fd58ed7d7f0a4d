/* Heap sort. */
static void swap(int* a, int* b) {
    int old = *a;
    *a = *b;
    *b = old;
}

static void sink(int* values, int root, int count) {
    for (int child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && values[child + 1] > values[child])
            ++child;
        if (values[root] >= values[child])
            return;
        swap(values + root, values + child);
    }
}

void sort(int* values, int count) {
    for (int i = count / 2 - 1; i >= 0; --i)
        sink(values, i, count);
    for (int end = count - 1; end > 0; --end) {
        swap(values, values + end);
        sink(values, 0, end);
    }
}
