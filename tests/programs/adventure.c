/* A very small text adventure read from standard input: a state machine, tables of function
   pointers and string handling. Its end depends on what was carried out of the tower. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { GATE, YARD, HALL, STAIR, VAULT, OUTSIDE, ROOMS };
enum { LAMP, KEY, CROWN, ITEMS };
enum { NORTH, SOUTH, EAST, WEST, UP, DOWN, WAYS };
enum { NOWHERE = 98, CARRIED = 99 };

static const char *room_name[ROOMS] = {"Gate", "Yard", "Hall", "Stair", "Vault", "Outside"};
static const char *room_text[ROOMS] = {
    "A gate of old oak, open a hand's breadth to the north.",
    "A yard of cobbles. The hall is north, a well stands east of you.",
    "A hall without a roof. A stair leads down into the dark.",
    "A winding stair. Something below reflects what light there is.",
    "A vault with one shelf.",
    "The road home.",
};
static const char *way_name[WAYS] = {"north", "south", "east", "west", "up", "down"};
static const char *item_name[ITEMS] = {"lamp", "key", "crown"};
static const signed char exits[ROOMS][WAYS] = {
    {YARD, OUTSIDE, -1, -1, -1, -1}, {HALL, GATE, -1, -1, -1, -1}, {-1, YARD, -1, -1, -1, STAIR},
    {-1, -1, -1, -1, HALL, VAULT},   {-1, -1, -1, -1, STAIR, -1},  {GATE, -1, -1, -1, -1, -1},
};
static int where[ITEMS] = {YARD, HALL, VAULT};
static int room = GATE, lit, open_vault, moves, playing = 1;

static int find(const char *const *names, int n, const char *word) {
    for (int i = 0; i < n; i++) if (!strcmp(names[i], word)) return i;
    return -1;
}

static void look(const char *unused) {
    (void)unused;
    if ((room == STAIR || room == VAULT) && !lit) { puts("It is too dark to see."); return; }
    printf("%s. %s\n", room_name[room], room_text[room]);
    for (int i = 0; i < ITEMS; i++) if (where[i] == room) printf("There is a %s here.\n", item_name[i]);
}

static void go(const char *word) {
    int way = find(way_name, WAYS, word);
    if (way < 0 || exits[room][way] < 0) { puts("There is no way there."); return; }
    int next = exits[room][way];
    if (next == VAULT && !open_vault) { puts("A grating bars the way. It has a lock."); return; }
    room = next;
    moves++;
    look("");
    if (room == OUTSIDE) {
        printf(where[CROWN] == CARRIED ? "You carry the crown home in %d moves.\n"
                                       : "You go home with empty hands after %d moves.\n", moves);
        playing = 0;
    }
}

static void get(const char *word) {
    int item = find(item_name, ITEMS, word);
    if (item < 0 || where[item] != room || ((room == STAIR || room == VAULT) && !lit)) { puts("You see no such thing."); return; }
    where[item] = CARRIED;
    printf("You take the %s.\n", word);
}

static void drop(const char *word) {
    int item = find(item_name, ITEMS, word);
    if (item < 0 || where[item] != CARRIED) { puts("You do not have that."); return; }
    where[item] = room;
    if (item == LAMP) lit = 0;
    printf("You put the %s down.\n", word);
}

static void use(const char *word) {
    int item = find(item_name, ITEMS, word);
    if (item < 0 || where[item] != CARRIED) { puts("You do not have that."); return; }
    if (item == LAMP) { lit = !lit; puts(lit ? "The lamp burns." : "The lamp goes out."); }
    else if (item == KEY && room == STAIR) { open_vault = 1; puts("The grating swings open."); }
    else puts("Nothing happens.");
}

static void inventory(const char *unused) {
    (void)unused;
    int n = 0;
    for (int i = 0; i < ITEMS; i++) if (where[i] == CARRIED) printf("%s%s", n++ ? ", " : "You carry: ", item_name[i]);
    puts(n ? "." : "You carry nothing.");
}

static void quit(const char *unused) { (void)unused; printf("You sit down after %d moves.\n", moves); playing = 0; }

static const struct { const char *name; void (*run)(const char *); } verbs[] = {
    {"look", look}, {"go", go}, {"get", get}, {"take", get}, {"drop", drop},
    {"use", use}, {"light", use}, {"inventory", inventory}, {"quit", quit},
};

int main(void) {
    char line[128];
    look("");
    while (playing && fputs("> ", stdout) >= 0 && fgets(line, sizeof line, stdin)) {
        char verb[128] = "", noun[128] = "";
        for (char *c = line; *c; c++) *c = tolower((unsigned char)*c);
        line[strcspn(line, "\r\n")] = 0;
        puts(line); /* an echo: standard input is not a terminal */
        char *space = strchr(line, ' ');
        if (space) { *space = 0; strcpy(noun, space + 1); }
        strcpy(verb, line);
        if (find(way_name, WAYS, verb) >= 0) { go(verb); continue; }
        size_t i = 0;
        while (i < sizeof verbs / sizeof *verbs && strcmp(verbs[i].name, verb)) i++;
        if (i == sizeof verbs / sizeof *verbs) puts("You do not know how.");
        else verbs[i].run(noun);
    }
    if (playing) puts("(end of input)");
    return where[CROWN] == CARRIED && room == OUTSIDE ? 0 : 1;
}
