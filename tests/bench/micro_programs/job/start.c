/* The job's entry: sorts and hashes, exits with 0 when both are right. No C library: the RAM disk has no headers. */
void sort(int* values, int count);
unsigned hash(const unsigned char* bytes, int count);
int is_sorted(const int* values, int count);
void fill(int* values, int count);

static void leave(int status) {
    __asm__ volatile("syscall" : : "a"(60), "D"(status) : "rcx", "r11", "memory");
}

void _start(void) {
    static int values[500];
    fill(values, 500);
    sort(values, 500);
    leave(!is_sorted(values, 500) || hash((const unsigned char*)"domus", 5) != 0xf478967bu);
}
