/* The program that the exec rows execute, linked once statically and once dynamically. */
int main(void) {
    return 0;
}
