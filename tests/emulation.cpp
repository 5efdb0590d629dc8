// Calls functions of a shared library for another process: under an emulator, for a processor that is not there.
//
// A request on standard input: the length of a name and the name; the number of pieces of memory and, for each, its
// address in the other process, its size in bytes, whether it holds addresses of other pieces, and its content; the
// number of arguments and, for each, whether it is such an address, and its value. The answer: 0 for a name that is
// missing, otherwise 1, the result, and the content of all memory. All numbers have 64 bits.
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <map>
#include <string>
#include <vector>

typedef int64_t word;
constexpr int MOST = 32;

static void receive(void* to, size_t size) {
    if (size && fread(to, 1, size, stdin) != size) exit(0);
}

static void answer(const void* from, size_t size) { fwrite(from, 1, size, stdout); }

static word number() {
    word value;
    receive(&value, sizeof value);
    return value;
}

struct Memory {
    char* bytes;
    word size, addresses;
};

int main(int, char** arguments) {
    void* library = dlopen(arguments[1], RTLD_NOW);
    if (!library) return fprintf(stderr, "%s\n", dlerror()), 1;
    for (;;) {
        std::string name(number(), ' ');
        receive(&name[0], name.size());
        void* found = dlsym(library, name.c_str());
        std::map<word, Memory> memories;
        std::vector<word> order(number()), words(MOST);
        for (word& address : order) {
            address = number();
            const word size = number(), addresses = number();
            char* bytes = (char*)aligned_alloc(64, (size + 127) / 64 * 64);
            receive(bytes, size);
            memories[address] = Memory{bytes, size, addresses};
        }
        for (auto& each : memories)
            for (word at = 0; each.second.addresses && at + 8 <= each.second.size; at += 8) {
                word value;
                memcpy(&value, each.second.bytes + at, 8);
                if (memories.count(value)) memcpy(each.second.bytes + at, &memories[value].bytes, 8);
            }
        const word count = number();
        for (word index = 0; index < count; ++index) {
            const word is_address = number(), value = number();
            words[index] = is_address && value ? (word)memories.at(value).bytes : value;
        }
        const word exists = found != nullptr;
        answer(&exists, 8);
        if (found && count) {
            const word* w = words.data();
            // a function leaves aside what it does not take
            typedef word (*Function)(word, word, word, word, word, word, word, word, word, word, word, word, word, word,
                                     word, word, word, word, word, word, word, word, word, word, word, word, word, word,
                                     word, word, word, word);
            const word result =
                ((Function)found)(w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9], w[10], w[11], w[12],
                                  w[13], w[14], w[15], w[16], w[17], w[18], w[19], w[20], w[21], w[22], w[23], w[24],
                                  w[25], w[26], w[27], w[28], w[29], w[30], w[31]);
            answer(&result, 8);
            for (word address : order) answer(memories[address].bytes, memories[address].size);
        }
        for (auto& each : memories) free(each.second.bytes);
        fflush(stdout);
    }
}
