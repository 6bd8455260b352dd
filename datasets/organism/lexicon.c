/* datasets/organism/lexicon.c - the words of the language.
 *
 * Every word of the vocabulary is written once here; a test holds that no two are equal.
 */
#include "organism/lexicon.h"

#include <string.h>

typedef const char *forms[ORG_FORMS];

#define W(x) {#x}
#define N(x) {#x, #x "s"}              /* noun: plural in -s */
#define V(x) {#x, #x "s", #x "ed"}     /* verb: past in -ed */
#define E(x) {#x, #x "s", #x "d"}      /* verb that ends in e */

static const forms func[] = {
    {"<bos>"}, {"<unk>"}, {"."}, {","}, {":"}, W(the), W(a), W(an), W(that), W(those), W(every),
    W(is), W(are), W(was), W(were), W(be), W(will), W(he), W(she), W(they), W(his), W(her),
    W(their), W(and), W(in), W(from), W(to), W(plus), W(minus), W(mod), W(spell), W(initial),
    W(count), W(copy), W(items), W(thing), W(things),
};

static const forms noun[] = {
    N(sparrow), N(eagle), N(owl), N(robin), N(crow), N(duck), N(gull), N(heron), N(finch), N(egret),
    N(salmon), N(trout), N(tuna), N(shark), N(cod), N(eel), N(carp), N(herring), N(minnow),
    N(snapper),
    N(horse), N(cow), N(dog), N(cat), N(goat), N(rabbit), N(bear), N(otter), N(badger), N(elephant),
    N(ant), N(bee), N(moth), N(beetle), N(cricket), N(wasp), N(hornet), N(termite), N(aphid),
    N(earwig),
    N(oak), N(pine), N(elm), N(maple), N(willow), N(cedar), N(aspen), N(spruce), N(poplar),
    N(alder),
    N(rose), N(tulip), N(orchid), N(violet), N(petunia), N(aster), N(marigold), N(begonia),
    N(azalea), N(magnolia),
    N(apple), N(pear), N(plum), N(grape), N(lemon), N(melon), N(apricot), N(fig), N(mango),
    N(avocado),
    N(onion), N(carrot), N(pea), N(bean), N(turnip), N(leek), N(artichoke), N(cucumber),
    N(eggplant), N(pepper),
    N(hammer), N(saw), N(rope), N(needle), N(shovel), N(axe), N(ladder), N(anvil), N(chisel),
    N(drill),
    N(violin), N(piano), N(drum), N(flute), N(guitar), N(organ), N(harp), N(oboe), N(trumpet),
    N(accordion),
    N(car), N(train), N(truck), N(boat), N(ship), N(tram), N(van), N(ambulance), N(tractor),
    N(airship),
    N(house), N(tower), N(bridge), N(school), N(castle), N(museum), N(inn), N(office), N(arena),
    N(cathedral),
    N(sensor), N(motor), N(laser), N(magnet), N(radio), N(antenna), N(telescope), N(amplifier),
    N(computer), N(engine),
    N(coat), N(shirt), N(hat), N(glove), N(boot), N(belt), N(jacket), N(apron), N(sock),
    N(overcoat),
};

static const forms kind[] = {
    N(bird), {"fish", "fishes"}, N(mammal), N(insect), N(tree), N(flower), N(fruit), N(vegetable),
    N(tool), N(instrument), N(vehicle), N(building), N(device), N(garment),
};
static const forms super[] = {W(animal), W(plant), W(food), W(object)};
static const int super_of[ORG_KINDS] = {0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 3, 3, 3, 3};

static const forms name[] = {
    W(adam), W(boris), W(carl), W(david), W(edward), W(felix), W(george), W(henry), W(ivan),
    W(jacob), W(kevin), W(lucas), W(martin), W(oscar), W(peter), W(victor),
    W(anna), W(clara), W(diana), W(emma), W(helen), W(irene), W(julia), W(laura), W(maria),
    W(nora), W(olivia), W(paula), W(rosa), W(sophia), W(tina), W(vera),
};
static const forms profession[] = {
    W(nurse), W(teacher), W(singer), W(dancer), W(artist), W(baker),
    W(doctor), W(engineer), W(farmer), W(soldier), W(pilot), W(sailor),
};
static const forms nation[] = {
    W(french), W(italian), W(english), W(indian), W(chinese), W(japanese), W(brazilian),
    W(mexican), W(canadian), W(egyptian), W(kenyan), W(ghanaian),
};
static const forms country[] = {
    W(france), W(italy), W(england), W(india), W(china), W(japan), W(brazil), W(mexico),
    W(canada), W(egypt), W(kenya), W(ghana),
};
static const forms city[] = {
    W(paris), W(lyon), W(rome), W(milan), W(london), W(leeds), W(delhi), W(mumbai), W(beijing),
    W(shanghai), W(tokyo), W(osaka), W(rio), W(brasilia), W(puebla), W(cancun), W(toronto),
    W(ottawa), W(cairo), W(luxor), W(nairobi), W(mombasa), W(accra), W(kumasi),
};
static const forms continent[] = {W(europe), W(asia), W(america), W(africa)};

static const forms mood[] = {
    W(sad), W(cruel), W(ugly), W(awful), W(bitter), W(gloomy), W(horrible), W(nasty), W(angry),
    W(dreadful),
    W(happy), W(kind), W(lovely), W(excellent), W(gentle), W(cheerful), W(wonderful), W(nice),
    W(elegant), W(delightful),
};
static const forms plain[] = {
    W(red), W(green), W(blue), W(yellow), W(white), W(large), W(small), W(old), W(new), W(empty),
};

static const forms act[] = { /* sea forest farm kitchen city music science garden */
    V(sail), {"swim", "swims", "swam"}, E(hike), V(camp), V(plow), V(harvest), V(cook), E(bake),
    V(wander), E(commute), {"sing", "sings", "sang"}, E(dance), E(calculate), V(experiment),
    V(rest), E(prune),
};
static const forms move[] = {
    {"sleep", "sleeps", "slept"}, {"hide", "hides", "hid"}, {"eat", "eats", "ate"},
    {"run", "runs", "ran"},
    {"grow", "grows", "grew"}, V(bloom), V(wilt), V(sprout),
    {"rot", "rots", "rotted"}, V(ripen), {"freeze", "freezes", "froze"},
    {"shrink", "shrinks", "shrank"},
    {"break", "breaks", "broke"}, E(vibrate), {"fall", "falls", "fell"}, V(rust),
};
static const forms deal[] = {
    {"buy", "buys", "bought"}, {"get", "gets", "got"}, V(need), V(help),
    {"find", "finds", "found"}, {"build", "builds", "built"}, {"fix", "fixes", "fixed"}, V(show),
    E(purchase), V(obtain), E(require), V(assist), V(discover), V(construct), V(repair),
    V(display),
};
static const forms feel[] = {
    E(hate), V(fear), E(despise), V(reject), V(detest), E(curse),
    E(love), V(enjoy), E(admire), E(praise), E(adore), E(treasure),
};
static const forms live[] = {E(live)};

static const forms opener[] = {
    W(anyway), W(okay), W(well), W(so), W(furthermore), W(therefore), W(moreover), W(consequently),
};
static const forms manner[] = {
    W(sadly), W(badly), W(angrily), W(poorly), W(happily), W(gladly), W(kindly), W(nicely),
};
static const forms when[] = {
    W(yesterday), W(earlier), W(formerly), W(today), W(now), W(currently), W(tomorrow), W(soon),
    W(later),
};
static const forms place[] = {W(near), W(behind), W(beside), W(under)};
static const forms number[] = {
    W(zero), W(one), W(two), W(three), W(four), W(five), W(six), W(seven), W(eight), W(nine),
    W(ten), W(eleven), W(twelve), W(thirteen), W(fourteen), W(fifteen), W(sixteen), W(seventeen),
    W(eighteen), W(nineteen), W(twenty),
};
static const forms letter[] = {
    W(A), W(B), W(C), W(D), W(E), W(F), W(G), W(H), W(I), W(J), W(K), W(L), W(M),
    W(N), W(O), W(P), W(Q), W(R), W(S), W(T), W(U), W(V), W(W), W(X), W(Y), W(Z),
};

#define LIST(x) {x, sizeof x / sizeof x[0]}
static const struct {
    const forms *words;
    int count;
} lists[ORG_LISTS] = {
    LIST(func), LIST(noun), LIST(kind), LIST(super), LIST(name), LIST(profession), LIST(nation),
    LIST(country), LIST(city), LIST(continent), LIST(mood), LIST(plain), LIST(act), LIST(move),
    LIST(deal), LIST(feel), LIST(live), LIST(opener), LIST(manner), LIST(when), LIST(place),
    LIST(number), LIST(letter),
};

void org_lexicon_make(org_lexicon *x)
{
    x->vocab = 0;
    memset(x->id, -1, sizeof x->id);
    for (int l = 0; l < ORG_LISTS; l++) {
        x->count[l] = (int16_t)lists[l].count;
        for (int m = 0; m < lists[l].count; m++)
            for (int f = 0; f < ORG_FORMS && lists[l].words[m][f]; f++) {
                x->id[l][f][m] = (int16_t)x->vocab;
                x->word[x->vocab++] = (org_word){lists[l].words[m][f], (int16_t)l, (int16_t)f,
                                                 (int16_t)m};
            }
    }
}

int org_vowel(const org_lexicon *x, int list, int member)
{
    return strchr("aeiou", x->word[x->id[list][0][member]].text[0]) != NULL;
}

int org_super_of(int k)
{
    return super_of[k];
}
