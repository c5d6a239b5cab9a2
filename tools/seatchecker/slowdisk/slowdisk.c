/* A disk that is slow on command, for a program that is started with this library in LD_PRELOAD.
 *
 * Promises: every fsync and fdatasync first waits for as many milliseconds as the file that SEATCHECK_DISK_DELAY
 * names says at that moment; without the file, or with nothing in it, they are as they were.
 *
 * Leaves to others: reads, and writes that nobody waits for. Programs that are linked statically do not hear of it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static const long longest_ms = 60000;

static long delay_ms(void) {
  const char *path = getenv("SEATCHECK_DISK_DELAY");
  if (path == NULL) return 0;
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  char text[16] = {0};
  ssize_t size = read(file, text, sizeof text - 1);
  close(file);
  long value = size > 0 ? strtol(text, NULL, 10) : 0;
  return value < 0 ? 0 : value > longest_ms ? longest_ms : value;
}

static void wait_for_disk(void) {
  int kept = errno;
  long ms = delay_ms();
  struct timespec left = {ms / 1000, (ms % 1000) * 1000000};
  while (ms > 0 && nanosleep(&left, &left) != 0 && errno == EINTR) {
  }
  errno = kept;
}

int fsync(int file) {
  static int (*real)(int);
  if (real == NULL) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
  wait_for_disk();
  return real(file);
}

int fdatasync(int file) {
  static int (*real)(int);
  if (real == NULL) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
  wait_for_disk();
  return real(file);
}
