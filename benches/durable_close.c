/* Preloaded into a receiver that never flushes: when a regular file that was written is closed, the file
 * and the folder that it is in are brought to the disk first. So a receiver is as durable as ours is under
 * `durability = "power"`. Build: cc -shared -fPIC -O2 -o durable_close.so durable_close.c -ldl */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int (*close_it)(int);

static void bring_to_disk(int fd)
{
	char link[64], path[PATH_MAX];
	struct stat status;
	ssize_t length;
	int folder, mode = fcntl(fd, F_GETFL);

	if (mode < 0 || (mode & O_ACCMODE) == O_RDONLY || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))
		return;
	fsync(fd);
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof path - 1);
	if (length <= 0)
		return;
	path[length] = '\0';
	folder = open(dirname(path), O_RDONLY | O_DIRECTORY);
	if (folder < 0)
		return;
	fsync(folder);
	close_it(folder);
}

__attribute__((constructor)) static void find_close(void)
{
	close_it = (int (*)(int))dlsym(RTLD_NEXT, "close");
}

int close(int fd)
{
	if (fd > 2)
		bring_to_disk(fd);
	return close_it(fd);
}

int fclose(FILE *file)
{
	static int (*fclose_it)(FILE *);

	if (!fclose_it)
		fclose_it = (int (*)(FILE *))dlsym(RTLD_NEXT, "fclose");
	if (file && fileno(file) > 2) {
		fflush(file);
		bring_to_disk(fileno(file));
	}
	return fclose_it(file);
}
