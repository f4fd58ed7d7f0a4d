/* Numbers without order, the same every time. */
void fill(int* values, int count) {
    unsigned x = 12345;
    for (int i = 0; i < count; ++i) {
        x = x * 1103515245u + 12345u;
        values[i] = (int)(x >> 8);
    }
}
