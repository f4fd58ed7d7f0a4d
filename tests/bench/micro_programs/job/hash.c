/* FNV-1a, 32 bits. */
unsigned hash(const unsigned char* bytes, int count) {
    unsigned result = 2166136261u;
    for (int i = 0; i < count; ++i)
        result = (result ^ bytes[i]) * 16777619u;
    return result;
}
