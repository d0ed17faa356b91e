"""Words for tasks about text: common English words, a few names, and pronounceable words that do not exist."""

from random import Random

_FUNCTION = """
    the of and to a in is it you that he was for on are as with his they i at be this have from or one had by but not
    what all were we when your can said there use an each which she do how their if will up other about out many then
    them these so some her would make like him into time has look two more go see no way could my than first been who
    its now did get come may over new such take only me our under very after also must most through before any where
    much too well here why us am own per yet both few off let because while should might until upon every shall cannot
    again always never often once till nor
    """
FUNCTION_WORDS = tuple(_FUNCTION.split())
"""The glue of English, roughly by frequency: about half of a running text."""

_CONTENT = """
    people water word work day part made find long down know great little year live back give thing name good sentence
    man think say help line turn cause mean right boy old same tell three want air play small end put home read hand
    port large spell add even land high follow act ask men change went light kind need house picture try animal point
    mother world near build self earth father head stand page country found answer school grow study still learn plant
    cover food sun four state keep eye last thought city tree cross farm hard start story saw far sea draw left late
    run press close night real life north book carry took science eat room friend began idea fish mountain stop base
    hear horse cut sure watch color face wood main open seem together next white children begin got walk example ease
    paper group music those mark letter mile river car feet care second enough plain girl usual young ready above ever
    red list though feel talk bird soon body dog family direct pose leave song measure door product black short class
    wind question happen complete ship area half rock order fire south problem piece told knew pass since top whole
    king space heard best hour better true during hundred five remember step early hold west ground interest reach
    fast verb sing listen six table travel less morning ten simple several vowel toward war lay against pattern slow
    center love person money serve appear road map rain rule govern pull cold notice voice unit power town fine
    certain fly fall lead cry dark machine note wait plan figure star box noun field rest correct able pound done
    beauty drive stood contain front teach week final gave green quick develop ocean warm free minute strong special
    mind behind clear tail produce fact street inch multiply nothing course stay wheel full force blue object decide
    surface deep moon island foot system busy test record boat common gold possible plane age dry wonder laugh
    thousand ago ran check game shape yes hot miss brought heat snow tire bring fill east paint language among grand
    ball wave drop heart present heavy dance engine position arm wide sail material fraction forest sit race window
    store summer train sleep prove lone leg exercise wall catch mount wish sky board joy winter sat written wild
    kept glass grass cow job edge sign visit past soft fun bright gas weather month million bear finish happy hope
    flower strange gone trade trip office receive row mouth exact symbol die least trouble shout except wrote seed
    tone join suggest clean break lady yard rise bad blow oil blood touch grew cent mix team wire cost lost brown
    wear garden equal sent choose fell fit flow fair bank collect save control ear else quite broke case middle kill
    son lake moment scale loud spring observe child straight nation dictionary milk speed method organ pay section
    dress cloud surprise quiet stone tiny climb cool design poor lot bottom key iron single stick flat twenty skin
    smile crease hole jump baby eight village meet root buy raise solve metal whether push seven third held hair
    describe cook floor either result burn hill safe cat century consider type law bit coast copy phrase silent tall
    sand soil roll finger industry value fight lie beat excite natural view sense capital chair danger fruit rich
    thick soldier process operate practice separate difficult doctor please protect noon crop modern element hit
    student corner party supply bone rail imagine provide agree thus gentle woman captain guess sharp wing create
    neighbor wash bat rather crowd corn compare poem string bell depend meat rub tube famous dollar stream fear sight
    thin triangle planet hurry chief colony clock mine tie enter major fresh search send yellow gun allow print dead
    spot desert suit current lift rose arrive master track parent shore sheet favor connect post spend chord fat glad
    original share station dad bread charge proper offer segment duck instant market degree dear enemy reply drink
    occur support speech nature range steam motion path liquid meant teeth shell neck sugar death pretty skill
    women season magnet silver thank branch match sister steel guide score apple bought led pitch coat mass card band
    rope slip win dream evening condition feed tool total basic smell valley double seat cup bed hat pen pot
    pan bag cap ice tea egg pie bee ant fox hen pig rat owl web net jar lid fog mud sad wet odd raw shy art hid
    sir just does came used says goes away being having makes making known news laws ways task hall gives given lived
    works days years hours words things seems others indeed almost already around along itself himself themselves
    """
CONTENT_WORDS = tuple(_CONTENT.split())
"""Other common words, three letters and longer (and a few short ones)."""

WORD_SET = frozenset(FUNCTION_WORDS) | frozenset(CONTENT_WORDS)
"""Every common word, in lower case."""

_NAMES = """
    Mr Dr Mrs Smith Fritz Jack Mary Anna Tom Peter Paris London Jane Alice Henry Mars Rome Lee Sam Ruth Oscar Wilkins
    Verne Europe China America Monday Friday May
    """
NAMES = tuple(_NAMES.split())

_ONSETS = "b c d f g h j k l m n p qu r s t v w x y z br ch cl dr fl gr pl sh st th tr sp"
_VOWELS = "a e i o u a e i o u ea oo ai ou"
_CODAS = "n r s t l d m p k g b x ss ll ck nd st"


def common_word(rng: Random, low: int = 1, high: int = 10) -> str:
    """A common word of `low` to `high` letters; every second one is a function word, as in running text."""
    assert low <= 5 <= high, "every list has words of five letters"
    while True:
        word = rng.choice(FUNCTION_WORDS if rng.random() < 0.5 else CONTENT_WORDS)
        if low <= len(word) <= high:
            return word


def pseudo_word(rng: Random, low: int = 3, high: int = 7) -> str:
    """A pronounceable lower-case word of `low` to `high` letters that is none of the common ones."""
    while True:
        size, word = rng.randint(low, high), ""
        while len(word) < size:
            word += rng.choice(_ONSETS.split()) + rng.choice(_VOWELS.split())
            if rng.random() < 0.4:
                word += rng.choice(_CODAS.split())
        word = word[:size]
        if word not in WORD_SET:
            return word


_ENDINGS = "s s ed ed ing ing ly er ers es al ment tion ation ness able ally ically ively ence ent est ward"
_BEGINNINGS = "re un in de im pre com con ex dis inter over under trans"


def long_word(rng: Random, high: int = 14) -> str:
    """A lower-case word of up to `high` letters that looks like English running text: a common one, lengthened."""
    while True:
        word = common_word(rng, 3) + rng.choice(_ENDINGS.split())
        if rng.random() < 0.25:
            word = rng.choice(_BEGINNINGS.split()) + word
        if len(word) <= high:
            return word
